// Asking again and again: quickly while things move, slowly while they do not, not at all while nobody looks.

import { useEffect } from "../vendor/core.js";

/** Longest wait for one answer, in milliseconds: a connection that hangs tells nothing. */
const ANSWER_MS = 15_000;

/**
 * Calls `ask(signal)` now and then, as long as the part is shown. It returns whether things move. Pauses grow from `fast`
 * to `slow` milliseconds while they do not, and after failures.
 */
export function usePoll(ask, inputs, { fast = 1_500, slow = 10_000 } = {}) {
  useEffect(() => {
    const stop = new AbortController();
    let timer;
    let pause = fast;
    const turn = async () => {
      if (!document.hidden) {
        try {
          const moves = await ask(AbortSignal.any([stop.signal, AbortSignal.timeout(ANSWER_MS)]));
          pause = moves ? fast : Math.min(pause * 1.5, slow);
        } catch (error) {
          if (stop.signal.aborted) return;
          pause = Math.min(pause * 2, slow * 3);
        }
      }
      if (!stop.signal.aborted) timer = setTimeout(turn, pause);
    };
    const wake = () => {
      if (document.hidden) return;
      clearTimeout(timer);
      pause = fast;
      turn();
    };
    turn();
    document.addEventListener("visibilitychange", wake);
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", wake);
    };
  }, inputs);
}
