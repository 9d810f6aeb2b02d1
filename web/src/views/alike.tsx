/** Select a span and find where else the same cells are on. */

import { useMemo } from "preact/hooks";
import type { Shared } from "../shared";
import { refocus } from "../focus";
import { findAlike, measure } from "../search";
import { short } from "../paint";

export function AlikeView(shared: Shared) {
  const { session, span, quantity, place, tracks, choose, select } = shared;
  const [from, to] = span;
  const measured = useMemo(() => measure(tracks), [tracks]);
  const { active, matches } = useMemo(() => findAlike(measured, from, to), [measured, from, to]);
  const text = (a: number, b: number) =>
    session.shown.slice(Math.max(0, a), b).map((s) => (s.newline ? "↵" : session.isText ? s.glyph : `${s.glyph} `)).join("");
  return (
    <>
      <h2>Where else are the same cells on?</h2>
      <p class="hint">
        Mark a span: drag over {session.isText ? "the text" : "the steps"} with the mouse, hold Shift and move, or press longer. Below are the cells whose {quantity} stands
        out most there (in standard deviations from their mean), then the other places where they do: a cell counts as on
        when it is at least half as far out, on the same side.
      </p>
      <div class="row">
        <span>Marked: <b class="token">{text(from, Math.min(to + 1, from + 24)).replace(/ /g, session.isText ? "␣" : " ")}{to - from >= 24 && "…"}</b></span>
        <button type="button" class="quiet" id="longer" onClick={() => select(from, Math.min(to + 1, session.length - 1))}>longer</button>
        <button type="button" class="quiet" disabled={to === from} onClick={() => {
          select(from, to - 1);
          refocus("#longer");
        }}>shorter</button>
      </div>
      <p class="chips" id="alike-cells">
        {active.map((one) => (
          <button type="button" aria-pressed={one.cell === place.cell && one.unit === place.unit} onClick={() => choose(one)}>
            {session.name(one)} <small>{one.z > 0 ? "+" : ""}{short(one.z)}</small>
          </button>
        ))}
        {!active.length && <span class="muted">No cell stands out here.</span>}
      </p>
      <ol class="matches" id="matches">
        {matches.map((one) => (
          <li>
            <button type="button" onClick={() => select(one.from, one.to)}>
              <span class="context"><span class="muted">{text(one.from - 14, one.from)}</span><mark>{text(one.from, one.to + 1)}</mark><span class="muted">{text(one.to + 1, one.to + 15)}</span></span>
              <small>{one.on} of {active.length} on · {short(one.score)}</small>
            </button>
          </li>
        ))}
      </ol>
      {active.length > 0 && !matches.length && <p class="muted">Nowhere else here.</p>}
    </>
  );
}
