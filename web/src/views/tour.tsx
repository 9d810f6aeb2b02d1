/** A short tour for somebody who has never seen an LSTM at work. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Shared, Tab } from "../shared";

interface Stop {
  title: string;
  body: string;
  tab: Tab;
  target: string;
  /** The body where numbers go in and no text is read. */
  numbers?: string;
}

const TEXT: Stop[] = [
  { tab: "cells", target: "#text", title: "A network that reads", body: "This LSTM reads the text one token at a time and guesses what comes next. It cannot look back: all that it knows of the past is in its cells, a list of numbers. The text is coloured by one of them: warm is above zero, cool below.", numbers: "This LSTM reads one row of numbers at a step. All that it knows of the steps before is in its cells, a list of numbers. The steps are coloured by one of them: warm is above zero, cool below." },
  { tab: "cells", target: "#suggestions", title: "Cells with a job", body: "Nobody told the cells what to do. Some came to follow something that a reader sees too, such as quotes or the place in the line. Press one and look at the text. The number is a measured correlation." },
  { tab: "cells", target: "#overview", title: "All of them at once", body: "Every row is a cell, every column a token. Stripes that run sideways are long memories; upright ones are cells that change with every token." },
  { tab: "gates", target: "#gates", title: "The gates", body: "A cell keeps f of its memory c, writes i of a new value g, and shows o of it as h: c = f·c + i·g, h = o·tanh(c). Where f is full, the memory stays; where i is full, something is written." },
  { tab: "why", target: "#view", title: "Why this token?", body: "Press any token. The exact gradient of its probability is followed back through every step to the start of the text: the tokens that light up are those that moved this guess.", numbers: "Press any step. The exact gradient of what the chosen cell shows there is followed back to every input: the steps that light up are those that moved it." },
  { tab: "hold", target: "#view", title: "Break it on purpose", body: "Hold a gate open or shut, or a memory at zero, and read again. If a cell has a job, the guesses that need it get worse, and nothing else.", numbers: "Hold a gate open or shut, or a memory at zero, and run it again. The steps are coloured by how far the output moved." },
  { tab: "write", target: "#view", title: "Let it write", body: "It goes on from the marked token. Near temperature 0 it repeats what is likeliest; above 1 it grows wild." },
  { tab: "alike", target: "#view", title: "Where else?", body: "Mark a few tokens in the text, and see where else the same cells are on. Now it is yours: every view follows the text, the cell and the token that you choose.", numbers: "Mark a few steps, and see where else the same cells are on. Now it is yours: every view follows the cell and the step that you choose." },
];

const GAP = 12;

/** Scroll the target into sight, and put the card into a corner where it does not hide it. */
function show(target: Element, card: HTMLElement, scroll: boolean): void {
  const hidden = () => {
    const [a, b] = [card.getBoundingClientRect(), target.getBoundingClientRect()];
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    return across > 0 && down > 0 ? across * down : 0;
  };
  const place = () => {
    const corners = ["", "high", "right", "high right"].map((corner) => {
      card.className = `tour ${corner}`;
      return { corner, hides: hidden() };
    });
    const best = corners.reduce((one, other) => (other.hides < one.hides ? other : one));
    card.className = `tour ${best.corner}`;
    return best.hides;
  };
  const { top, bottom } = target.getBoundingClientRect();
  const whole = top >= GAP && bottom <= innerHeight - GAP;
  const hides = place();
  if (!scroll || (whole && !hides)) return;
  scrollBy(0, top - GAP);
  if (!place()) return;
  // Near the end of a page it cannot come up: card above, target below, where both fit.
  const fits = bottom - top <= innerHeight - card.offsetHeight - 3 * GAP;
  card.className = fits ? "tour high" : "tour";
  if (fits) scrollBy(0, target.getBoundingClientRect().top - card.getBoundingClientRect().bottom - GAP);
}

export function Tour({ shared, open, close }: { shared: Shared; open(tab: Tab): void; close(): void }) {
  // Not every page has every view, and a short text has no suggestions.
  const [stops] = useState(() => TEXT.filter((stop) =>
    (shared.session.isText || stop.tab !== "write") && (stop.target !== "#suggestions" || shared.suggestions.length > 0)));
  const [at, setAt] = useState(0);
  const card = useRef<HTMLDivElement>(null);
  const stop = stops[at];
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    return () => before?.focus();
  }, []);
  useEffect(() => {
    open(stop.tab);
    card.current!.focus();
    let target: Element | null = null;
    // "Why" grows when its gradient is there: look again; but scroll no more once the page is used.
    let untouched = true;
    const used = () => (untouched = false);
    addEventListener("pointerdown", used);
    const watch = new ResizeObserver(() => target && show(target, card.current!, untouched));
    const later = setTimeout(() => {
      target = document.querySelector(stop.target);
      target?.classList.add("toured");
      if (target) watch.observe(target);
    }, 60);
    return () => {
      clearTimeout(later);
      watch.disconnect();
      removeEventListener("pointerdown", used);
      target?.classList.remove("toured");
    };
  }, [at]);
  const keys = (event: KeyboardEvent) => {
    if (event.key === "Escape") close();
    event.stopPropagation();
  };
  return (
    <div class="tour" role="dialog" aria-labelledby="tour-title" aria-describedby="tour-body" tabIndex={-1} ref={card} onKeyDown={keys}>
      <p class="muted">{at + 1} of {stops.length}</p>
      <h2 id="tour-title">{stop.title}</h2>
      <p id="tour-body">{(!shared.session.isText && stop.numbers) || stop.body}</p>
      <div class="row spread">
        <button type="button" class="quiet" onClick={close}>Close</button>
        <div class="row">
          <button type="button" disabled={!at} onClick={() => setAt(at - 1)}>Back</button>
          {at < stops.length - 1
            ? <button type="button" class="main" id="tour-next" onClick={() => setAt(at + 1)}>Next</button>
            : <button type="button" class="main" id="tour-next" onClick={close}>Done</button>}
        </div>
      </div>
    </div>
  );
}
