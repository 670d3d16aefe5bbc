"use strict";
// The web chat in a shadow root: on our own page through data-mount, or behind a button on a page of the same site.
(() => {
  const script = document.currentScript;
  const base = new URL(script.src).origin;
  const mount = document.querySelector(script.dataset.mount || "#none");
  const host = document.createElement("div");
  const root = host.attachShadow({ mode: "open" });
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = `${base}/static/widget.css`;
  root.append(style);

  const make = (tag, attributes = {}, text = "") => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };
  const call = (path, body) =>
    fetch(base + path, { method: body ? "POST" : "GET", credentials: "include", headers: body ? { "Content-Type": "application/json" } : {}, body: body && JSON.stringify(body) });

  const chat = make("section", { class: "chat", "aria-label": "Chat with your care team" });
  const shown = new Set();
  const queue = [];
  let list, quick, status, cursor = 0, socket = null, sending = false, closed = false;

  function openForm(token) {
    chat.replaceChildren();
    const form = make("form");
    const label = make("label", { for: "dob" }, "Your date of birth");
    const input = make("input", { id: "dob", type: "date", required: "", max: new Date().toISOString().slice(0, 10), autocomplete: "bday" });
    const problem = make("p", { role: "alert" });
    form.append(label, input, make("button", {}, "Open the chat"), problem);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const answer = await call("/chat/open", { token, date_of_birth: input.value });
      if (!answer.ok) { problem.textContent = (await answer.json()).detail; return; }
      history.replaceState(null, "", location.pathname);
      start();
    });
    chat.append(form);
  }

  function needLink() {
    chat.replaceChildren(make("p", { class: "status" }, "Please open the chat with the link that we sent to your phone. For a new link, text CHAT to the number that wrote to you."));
  }

  function addLine(line, pending) {
    if (shown.has(line.id)) return null;
    shown.add(line.id);
    const item = make("p", { class: "line " + line.author + (pending ? " unsent" : "") });
    item.append(make("span", { class: "hidden" }, { patient: "You: ", person: "Care team: " }[line.author] || "Automated service: "), document.createTextNode(line.text));
    list.append(item);
    list.scrollTop = list.scrollHeight;
    if (line.author !== "patient") showQuick(line.quick_replies);
    return item;
  }

  function showQuick(replies) {
    quick.replaceChildren(...(replies || []).map((reply) => {
      const button = make("button", { type: "button" }, reply.label);
      button.addEventListener("click", () => say(reply.text));
      return button;
    }));
  }

  function say(text) {
    const id = crypto.randomUUID();
    showQuick([]);
    queue.push({ id, text, item: addLine({ id, author: "patient", text }, true) });
    flush();
  }

  async function flush() {
    if (sending) return;
    sending = true;
    while (queue.length) {
      const { id, text, item } = queue[0];
      status.textContent = "Writing\u2026";
      try {
        const answer = await call("/chat/messages", { id, text });
        if (answer.status === 401) { needLink(); closed = true; break; }
        if (!answer.ok) throw new Error(String(answer.status));
        const { lines, cursor: newest } = await answer.json();
        item.classList.remove("unsent");
        queue.shift();
        lines.forEach((line) => addLine(line));
        cursor = Math.max(cursor, newest);
        status.textContent = "";
      } catch {
        status.textContent = "Not sent yet. Trying again\u2026";
        await new Promise((wait) => setTimeout(wait, 2000));
      }
    }
    sending = false;
  }

  function listen() {
    if (closed) return;
    socket = new WebSocket(`${base.replace("http", "ws")}/chat/socket?cursor=${cursor}`);
    socket.addEventListener("message", (event) => {
      const line = JSON.parse(event.data);
      if (line.cursor !== undefined) cursor = Math.max(cursor, line.cursor);
      else addLine(line);
    });
    socket.addEventListener("close", (event) => {
      if (event.code === 4401) { closed = true; needLink(); return; }
      setTimeout(listen, 2000);
    });
  }

  async function start() {
    const answer = await call("/chat/messages");
    if (!answer.ok) { needLink(); return; }
    const past = await answer.json();
    list = make("div", { class: "messages", role: "log", "aria-live": "polite", "aria-label": "Messages", tabindex: "0" });
    quick = make("div", { class: "quick", role: "group", "aria-label": "Quick replies" });
    status = make("p", { class: "status", role: "status" });
    const form = make("form");
    const box = make("textarea", { rows: "2", maxlength: "100000", "aria-label": "Your message", placeholder: "Your message" });
    form.append(box, make("button", {}, "Send"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = box.value.trim();
      if (text) { box.value = ""; say(text); }
      box.focus();
    });
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); form.requestSubmit(); }
    });
    chat.replaceChildren(list, quick, status, form);
    past.lines.forEach((line) => addLine(line));
    cursor = past.cursor;
    listen();
  }

  root.append(chat);
  if (mount) {
    mount.append(host);
  } else {
    chat.classList.add("floating");
    chat.hidden = true;
    const launcher = make("button", { class: "launcher", "aria-expanded": "false" }, "Chat with your care team");
    launcher.addEventListener("click", () => {
      chat.hidden = !chat.hidden;
      launcher.setAttribute("aria-expanded", String(!chat.hidden));
    });
    root.append(launcher);
    document.body.append(host);
  }
  const token = new URLSearchParams(location.hash.slice(1)).get("open");
  if (token) openForm(token);
  else start();
})();
