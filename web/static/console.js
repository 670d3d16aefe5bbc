"use strict";
// Keeps the list of escalations fresh; without script the page works by loading it again.
const board = document.querySelector("[data-live]");
if (board) {
  let last = "";
  setInterval(async () => {
    const answer = await fetch(board.dataset.live, { redirect: "manual" }).catch(() => null);
    if (answer && answer.ok) {
      const fresh = await answer.text();
      if (fresh === last) return;
      last = fresh;
      const focused = board.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      board.innerHTML = fresh;
      if (focused) board.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    } else if (answer && answer.type === "opaqueredirect") {
      location.assign("/console/login");
    }
  }, 2000);
}
