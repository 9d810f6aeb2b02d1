/** The text, coloured; a list of tokens that mouse, keyboard and screen reader can walk through. */

import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { Painting, Shared } from "../shared";
import { refocus } from "../focus";
import { percent, short, signed } from "../paint";
import { likeliest } from "../sampling";
import { seen } from "../tokens";


interface Props {
  shared: Shared;
  painting: Painting;
  explain(): void;
}

export function TextView({ shared, painting, explain }: Props) {
  const { session, version, cursor, span, colours, place, quantity, go, setQuantity, choose, work } = shared;
  const box = useRef<HTMLDivElement>(null);
  const dragging = useRef(false);
  const pressed = useRef(false);

  const tokens = useMemo(
    () => session.shown.map((token, t) => (
      <span role="option" id={`t${t}`} aria-label={token.glyph === token.name ? undefined : token.name}
        class={token.newline || token.glyph.startsWith("⇥") ? "faint" : undefined} aria-selected="false">
        {token.newline ? "↵\n" : session.isText ? token.glyph : `${token.glyph} `}
      </span>
    )),
    [version],
  );

  // Thousands of tokens: colours and marks are set on the elements, the list itself stays.
  useLayoutEffect(() => {
    const children = box.current!.children;
    for (let t = 0; t < children.length; t++) {
      const value = t < painting.values.length ? painting.values[t] / painting.most : 0;
      (children[t] as HTMLElement).style.backgroundColor = signed(value, colours);
    }
  }, [painting.values, painting.most, colours, tokens]);
  useLayoutEffect(() => {
    const children = box.current!.children;
    const written = session.length - session.written;
    for (let t = 0; t < children.length; t++) {
      const inside = t >= span[0] && t <= span[1];
      children[t].classList.toggle("marked", inside && span[0] < span[1]);
      children[t].classList.toggle("cursor", t === cursor);
      children[t].classList.toggle("written", t >= written);
      children[t].setAttribute("aria-selected", String(inside));
    }
    // Keep the cursor in sight by scrolling the box, never the page.
    const here = children[cursor] as HTMLElement | undefined;
    const frame = box.current!;
    if (here) {
      const top = here.offsetTop - frame.offsetTop;
      if (top < frame.scrollTop) frame.scrollTop = top - 20;
      const bottom = top + here.offsetHeight;
      if (bottom > frame.scrollTop + frame.clientHeight) frame.scrollTop = bottom - frame.clientHeight + 20;
    }
  }, [cursor, span[0], span[1], tokens]);

  const tokenOf = (event: Event): number | null => {
    const id = (event.target as HTMLElement).id;
    return /^t\d+$/.test(id) ? Number(id.slice(1)) : null;
  };
  const line = (step: number) => {
    const { shown } = session;
    if (!session.isText) return cursor + step * 10;
    const begin = (t: number) => {
      while (t > 0 && !shown[t - 1].newline) t -= 1;
      return t;
    };
    const here = begin(cursor);
    const column = cursor - here;
    let start = step < 0 ? (here ? begin(here - 1) : 0) : cursor;
    if (step > 0) {
      while (start < shown.length && !shown[start].newline) start += 1;
      start += 1;
      if (start >= shown.length) return shown.length - 1;
    }
    let to = start;
    while (to < start + column && to < shown.length - 1 && !shown[to].newline) to += 1;
    return to;
  };
  const keys = (event: KeyboardEvent) => {
    const moves: Record<string, () => number> = {
      ArrowLeft: () => cursor - 1,
      ArrowRight: () => cursor + 1,
      ArrowUp: () => line(-1),
      ArrowDown: () => line(1),
      Home: () => 0,
      End: () => session.length - 1,
    };
    if (event.key === "Enter") explain();
    else if (moves[event.key]) go(moves[event.key](), event.shiftKey);
    else return;
    event.preventDefault();
  };

  useEffect(() => {
    const stop = () => (dragging.current = false);
    addEventListener("pointerup", stop);
    return () => removeEventListener("pointerup", stop);
  }, []);

  const logits = session.logits(cursor);
  const next = logits ? likeliest(logits, 5) : [];
  const value = version ? session.at(place, quantity, cursor) : 0;
  return (
    <section class="card text" aria-label={session.isText ? "Text" : "Steps"}>
      <div class="row spread">
        <div class="row">
          {session.cells.length > 1 && (
            <label>Layer{" "}
              <select id="layer" value={place.cell} onChange={(event) => choose({ cell: Number(event.currentTarget.value), unit: 0 })}>
                {session.cells.map(({ cell, name }) => <option value={cell}>{name.replace("layer ", "")}</option>)}
              </select>
            </label>
          )}
          <label>Cell{" "}
            <input id="unit" type="number" min={0} max={session.width(place.cell, quantity) - 1} value={place.unit}
              onInput={(event) => {
                const field = event.currentTarget;
                if (!field.value) return;
                const unit = Math.max(0, Math.min(Math.floor(Number(field.value)), session.width(place.cell, quantity) - 1));
                field.value = String(unit); // never a number that is not the one shown
                choose({ cell: place.cell, unit });
              }}
              onBlur={(event) => (event.currentTarget.value = String(place.unit))} />
          </label>
        </div>
        <div class="switch" role="group" aria-label="Shown of the cell">
          <button type="button" aria-pressed={quantity === "c"} onClick={() => setQuantity("c")} title="cell state">c <span class="wide">memory</span></button>
          <button type="button" aria-pressed={quantity === "h"} onClick={() => setQuantity("h")} title="hidden state">h <span class="wide">shown</span></button>
        </div>
      </div>
      {session.held.length > 0 && (
        <p class="held-note">
          {session.held.length === 1 ? "One value is" : `${session.held.length} values are`} held
          <button type="button" class="quiet" onClick={() => void work((progress) => session.hold([], progress)).then(() => refocus("#text"))}>Let go</button>
        </p>
      )}
      <div class="reading" id="text" ref={box} role="listbox" aria-multiselectable="true" tabIndex={0}
        aria-label={session.isText ? "The text, token by token" : "The steps"}
        aria-activedescendant={`t${cursor}`} onKeyDown={keys}
        onPointerDown={(event) => {
          const t = tokenOf(event);
          // A finger or pen may be about to scroll: only its click counts.
          pressed.current = t !== null && event.pointerType !== "touch" && event.pointerType !== "pen";
          if (t === null || !pressed.current) return;
          dragging.current = event.pointerType === "mouse";
          go(t, event.shiftKey);
        }}
        onClick={(event) => {
          const t = tokenOf(event);
          if (t !== null && !pressed.current) go(t, event.shiftKey);
          pressed.current = false;
        }}
        onPointerOver={(event) => {
          const t = tokenOf(event);
          if (dragging.current && t !== null) go(t, true);
        }}>
        {tokens}
      </div>
      <div class="legend" aria-hidden="true">
        <span>{painting.most > 1e-8 ? short(-painting.most) : "0"}</span>
        <i style={{ background: `linear-gradient(90deg, ${signed(-1, colours)}, ${signed(0, colours)}, ${signed(1, colours)})` }} />
        <span>{painting.most > 1e-8 ? short(painting.most) : "0"}</span>
        <span class="caption">{painting.caption}</span>
      </div>
      {session.length > 0 && (
        <div class="readout">
          <p>
            After <b class="token">{seen(session.shown[cursor])}</b> <span class="muted">({cursor + 1} of {session.length})</span>:
            {" "}{quantity} = <b>{short(value)}</b>
            {!session.isText && <span class="muted"> · input {Array.from(session.rows[cursor].subarray(0, 6), short).join(", ")}{session.rows[cursor].length > 6 && " …"}</span>}
          </p>
          {next.length > 0 && (
            <ol class="next" aria-label="Likeliest next tokens">
              {next.map(({ token, p }) => (
                <li><b class="token">{session.vocabulary.label(token)}</b><i style={{ width: `${p * 100}%` }} /><span>{percent(p)}</span></li>
              ))}
            </ol>
          )}
        </div>
      )}
    </section>
  );
}
