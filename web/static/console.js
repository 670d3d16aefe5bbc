"use strict";
// What script adds to pages that work without it: live parts, drafts that outlive a session, a count of what may still be typed, one sending a form.

const EVERY_MS = 2000;
const PATIENCE_MS = 10000;

const say = (element, words) => {
  if (element && element.textContent !== words) element.textContent = words;
};

// A live part is fetched anew every few seconds. The element stays, and so do those that tell of it: a screen reader hears only of those that were there.
const keepLive = (part) => {
  const stale = document.getElementById("stale");
  const said = document.getElementById("said");
  const linesOf = () => [...part.querySelectorAll("li[id]")].map((line) => line.id);
  const atFirst = new Set(linesOf());
  let shown = "";
  let updatedAt = new Date();

  const show = (fresh) => {
    const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const above = part.scrollTop;
    const atEnd = part.scrollHeight - part.clientHeight - above < 4;
    part.innerHTML = fresh;
    part.scrollTop = atEnd ? part.scrollHeight : above;
    if (focused) part.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  };

  const tell = () => {
    const title = part.querySelector("[data-title]");
    if (title) document.title = `${title.dataset.title} · Aftercare`;
    const told = [...part.querySelectorAll("[data-say]")].map((each) => each.textContent.trim());
    const fresh = linesOf().filter((id) => !atFirst.has(id)).length;
    if (fresh) told.push(`${fresh} new ${fresh === 1 ? "message" : "messages"} since you opened this page`);
    say(said, told.join(" "));
  };

  const update = async () => {
    const answer = await fetch(part.dataset.live, { redirect: "manual", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.type === "opaqueredirect") {
      location.assign(`/console/login?next=${encodeURIComponent(location.pathname + location.search)}`);
      return;
    }
    if (!answer.ok) throw new Error(`answered with ${answer.status}`);
    const fresh = await answer.text();
    updatedAt = new Date();
    if (fresh !== shown) show(fresh);
    shown = fresh;
    tell();
  };

  const run = async () => {
    try {
      await update();
      say(stale, "");
    } catch {
      say(stale, `Not updated since ${updatedAt.toTimeString().slice(0, 5)}: the service does not answer. What you see may be old; load the page again.`);
    }
    setTimeout(run, EVERY_MS);
  };

  tell();
  if (!location.hash) part.scrollTop = part.scrollHeight;
  setTimeout(run, EVERY_MS);
};

// A draft belongs to the person, the page and the field; it goes when the service has taken it (the next page's address says so) and when the person signs out.
const DRAFT = "draft ";
const SENT = "sent";
const boxesIn = (root) => [...root.querySelectorAll("textarea:not([hidden])")];
const draftOf = (box) => `${DRAFT}${document.body.dataset.user} ${location.pathname}${location.search} ${box.name}`;

const forgetWhatWasTaken = () => {
  const sent = JSON.parse(sessionStorage.getItem(SENT) ?? "[]");
  sessionStorage.removeItem(SENT);
  if (location.hash !== "#sent") return;
  for (const draft of sent) sessionStorage.removeItem(draft);
  history.replaceState(null, "", location.pathname + location.search);
};

const forgetAll = () => {
  for (const name of Object.keys(sessionStorage)) if (name.startsWith(DRAFT)) sessionStorage.removeItem(name);
};

const keepDraft = (box) => {
  const left = box.form.querySelector(".left");
  const count = () => say(left, `${box.maxLength - box.value.length} characters left`);
  const keep = () => {
    sessionStorage.setItem(draftOf(box), box.value);
    count();
  };
  box.value ||= sessionStorage.getItem(draftOf(box)) ?? "";
  if (box.value !== box.defaultValue) keep(); // typed before this script ran, too
  box.addEventListener("input", keep);
  if (left) count();
};

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  if (form.action.endsWith("/console/logout")) forgetAll();
  sessionStorage.setItem(SENT, JSON.stringify(boxesIn(form).map(draftOf)));
  // After the browser has read the form: what a disabled button says is not sent.
  setTimeout(() => form.querySelectorAll("button").forEach((button) => { button.disabled = true; }));
});

// A page that the browser kept whole shows an old state, its buttons disabled.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// Somebody else sits at this screen now.
const forgetOthers = () => {
  const user = document.body.dataset.user;
  if (!user) return;
  for (const name of Object.keys(sessionStorage)) if (name.startsWith(DRAFT) && !name.startsWith(`${DRAFT}${user} `)) sessionStorage.removeItem(name);
};

forgetOthers();
forgetWhatWasTaken();
boxesIn(document).forEach(keepDraft);
document.querySelectorAll("[data-live]").forEach(keepLive);
