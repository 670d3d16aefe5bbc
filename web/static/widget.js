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

  const chat = make("section", { class: "chat" });
  const shown = new Set();
  const queue = [];
  let list, quick, status, cursor = 0, socket = null, sending = false, closed = false, offered = [];
  let words, inAllLanguages;

  // The browser's language until it is known which one the patient reads.
  function speak(language) {
    const known = inAllLanguages[language] ? language : "en";
    words = inAllLanguages[known];
    host.lang = known;
    chat.setAttribute("aria-label", words.title);
    if (!mount) return;
    document.documentElement.lang = known;
    document.title = words.title;
    for (const element of document.querySelectorAll("[data-words]")) element.textContent = words[element.dataset.words];
  }

  function openForm(token) {
    chat.replaceChildren();
    const form = make("form");
    const label = make("label", { for: "dob" }, words.date_of_birth);
    const input = make("input", { id: "dob", type: "date", required: "", max: new Date().toISOString().slice(0, 10), autocomplete: "bday" });
    const problem = make("p", { role: "alert" });
    form.append(label, input, make("button", {}, words.open), problem);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const answer = await call("/chat/open", { token, date_of_birth: input.value });
      if (!answer.ok) { problem.textContent = words.not_opened; return; }
      history.replaceState(null, "", location.pathname);
      start();
    });
    chat.append(form);
  }

  function needLink() {
    chat.replaceChildren(make("p", { class: "status" }, words.need_link));
  }

  function addLine(line, pending) {
    if (shown.has(line.id)) return null;
    shown.add(line.id);
    const item = make("p", { class: "line " + line.author + (pending ? " unsent" : "") });
    const mine = line.author === "patient";
    const tapped = mine && offered.find((reply) => reply.text === line.text);
    item.append(make("span", { class: "hidden" }, `${words[line.author] || words.bot}: `), document.createTextNode(tapped ? tapped.label : line.text));
    list.append(item);
    list.scrollTop = list.scrollHeight;
    if (mine) return item;
    offered = line.quick_replies;
    showQuick(offered);
    return item;
  }

  function showQuick(replies) {
    quick.replaceChildren(...replies.map((reply) => {
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
      status.textContent = words.writing;
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
        status.textContent = words.not_sent;
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
    speak(past.language);
    list = make("div", { class: "messages", role: "log", "aria-live": "polite", "aria-label": words.messages, tabindex: "0" });
    quick = make("div", { class: "quick", role: "group", "aria-label": words.quick_replies });
    status = make("p", { class: "status", role: "status" });
    const form = make("form");
    const box = make("textarea", { rows: "2", maxlength: "100000", "aria-label": words.message, placeholder: words.message });
    form.append(box, make("button", {}, words.send));
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

  function show() {
    root.append(chat);
    if (mount) { mount.append(host); return; }
    chat.classList.add("floating");
    chat.hidden = true;
    const launcher = make("button", { class: "launcher", "aria-expanded": "false" }, words.title);
    launcher.addEventListener("click", () => {
      chat.hidden = !chat.hidden;
      launcher.setAttribute("aria-expanded", String(!chat.hidden));
    });
    root.append(launcher);
    document.body.append(host);
  }

  async function begin() {
    inAllLanguages = await (await call("/static/words.json")).json();
    speak(navigator.language.slice(0, 2));
    show();
    const token = new URLSearchParams(location.hash.slice(1)).get("open");
    if (token) openForm(token);
    else start();
  }
  begin();
})();
