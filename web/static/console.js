"use strict";
// Keeps the list of escalations fresh; without script the page works by loading it again.
const board = document.querySelector("[data-live]");
if (board) {
  setInterval(async () => {
    const answer = await fetch(board.dataset.live, { redirect: "manual" }).catch(() => null);
    if (answer && answer.ok) {
      const fresh = await answer.text();
      if (fresh !== board.dataset.last) board.innerHTML = board.dataset.last = fresh;
    } else if (answer && answer.type === "opaqueredirect") {
      location.assign("/console/login");
    }
  }, 2000);
}
