"use strict";
const phones = new Map();
const added = new Set();

function phoneOf(number) {
  if (phones.has(number)) return phones.get(number);
  const section = document.getElementById("phone").content.firstElementChild.cloneNode(true);
  section.querySelector("h2").textContent = number;
  const form = section.querySelector("form");
  const box = form.elements.body;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = box.value;
    if (!body.trim()) return;
    box.value = "";
    await fetch(`/phones/${encodeURIComponent(number)}/messages`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ body }) });
    refresh();
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); form.requestSubmit(); }
  });
  document.getElementById("phones").append(section);
  phones.set(number, section);
  return section;
}

async function refresh() {
  const numbers = await (await fetch("/phones")).json();
  for (const number of new Set([...numbers, ...added])) {
    const list = phoneOf(number).querySelector(".messages");
    const messages = await (await fetch(`/phones/${encodeURIComponent(number)}/messages`)).json();
    for (const message of messages.slice(list.children.length)) {
      const item = document.createElement("li");
      item.className = message.direction;
      item.textContent = message.body;
      list.append(item);
      list.scrollTop = list.scrollHeight;
    }
  }
}

document.getElementById("new-phone").addEventListener("submit", (event) => {
  event.preventDefault();
  added.add(event.target.elements.number.value);
  event.target.reset();
  refresh();
});
refresh();
setInterval(refresh, 1500);
