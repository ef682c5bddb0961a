/** What both forms do: run one piece of work at a time, stop it, say what went wrong. */

/**
 * Joins `work` to a form with the buttons `go` and `stop`.
 * @param {HTMLFormElement} form
 * @param {(signal: AbortSignal) => Promise<void>} work
 */
export function runs(form, work) {
  const { go, stop } = form.elements;
  const status = form.querySelector(".speed");
  let aborter = new AbortController();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    aborter = new AbortController();
    [go.disabled, stop.disabled] = [true, false];
    status.classList.remove("bad");
    try {
      await work(aborter.signal);
    } catch (error) {
      status.textContent = error.message;
      status.classList.add("bad");
      console.error(error);
    }
    [go.disabled, stop.disabled] = [false, true];
  });
  stop.addEventListener("click", () => aborter.abort());
  go.disabled = false;
}
