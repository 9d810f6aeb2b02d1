/** Every gate of a few cells over time, with what comes next at each position. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Shared } from "../shared";
import { QUANTITIES, type Quantity } from "../cell";
import { refocus } from "../focus";
import { extent, percent, short, signed, unsigned } from "../paint";
import { likeliest } from "../sampling";
import type { Place } from "../session";

const MEANING: Record<Quantity, string> = {
  i: "input gate", f: "forget gate", g: "candidate", o: "output gate", c: "memory", h: "shown",
};
const COLUMN = 21;
const RANKS = 3;

export function GatesView({ session, version, place, suggestions, cursor, colours, go }: Shared) {
  // At first beside the chosen cell: the best of two other features.
  const [more, setMore] = useState<Place[]>(() => {
    const own = suggestions.find((s) => s.cell === place.cell && s.unit === place.unit)?.feature;
    const others = [...new Set(suggestions.map((s) => s.feature))].filter((f) => f !== own).slice(0, 2);
    return others
      .map((feature) => suggestions.find((s) => s.feature === feature)!)
      .map(({ cell, unit }) => ({ cell, unit }))
      .filter((one, k, all) => all.findIndex((o) => o.cell === one.cell && o.unit === one.unit) === k);
  });
  const [columns, setColumns] = useState(16);
  const frame = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const measure = () => setColumns(Math.max(6, Math.floor((frame.current!.clientWidth - 34) / COLUMN)));
    const observer = new ResizeObserver(measure);
    observer.observe(frame.current!);
    measure();
    return () => observer.disconnect();
  }, []);

  const count = Math.min(columns, session.length);
  const first = Math.max(0, Math.min(cursor - (count >> 1), session.length - count));
  const times = Array.from({ length: count }, (_, k) => first + k);
  const same = (a: Place, b: Place) => a.cell === b.cell && a.unit === b.unit;
  const chosen = [place, ...more.filter((one) => !same(one, place))];
  const scales = useMemo(
    () => chosen.map((one) => ({ c: extent(session.track(one, "c")), h: extent(session.track(one, "h")) })),
    [version, JSON.stringify(chosen)],
  );
  const widest = useMemo(
    () => Array.from(session.rows[0] ?? [], (_, j) => extent(session.rows.map((x) => x[j]))),
    [session],
  );
  const next = times.map((t) => {
    const logits = session.logits(t);
    return logits ? likeliest(logits, RANKS) : [];
  });
  const colour = (quantity: Quantity, value: number, k: number) => {
    if ("ifo".includes(quantity)) return unsigned(value, colours);
    const most = quantity === "g" ? 1 : scales[k][quantity as "c" | "h"];
    return signed(value / most, colours);
  };

  const head = () => (
    <thead>
      <tr>
        <td />
        {times.map((t) => (
          <th scope="col" class={t === cursor ? "cursor" : undefined}>
            <button type="button" tabIndex={-1} aria-label={session.shown[t].name} onClick={() => go(t)}>{session.shown[t].glyph.trim() || "␣"}</button>
          </th>
        ))}
      </tr>
    </thead>
  );

  return (
    <>
      <div class="row spread">
        <h2>Gates over time</h2>
        <div class="row">
          <button type="button" aria-label="Earlier" onClick={() => go(cursor - count)}>‹</button>
          <button type="button" aria-label="Later" onClick={() => go(cursor + count)}>›</button>
        </div>
      </div>
      <p class="hint">
        i, f and o open from 0 to 1; g, c and h go below and above 0. Move through the text, or press a token.
      </p>
      <div ref={frame} class="gates" id="gates">
        {chosen.map((one, k) => (
          <table>
            <caption>
              {session.name(one)}
              {k > 0 && <button type="button" class="quiet" aria-label={`Take ${session.name(one)} away`} onClick={() => {
                setMore(more.filter((m) => !same(m, one)));
                refocus("#gates table:nth-of-type(2) caption button", "#keep-cell", "#tab-gates");
              }}>×</button>}
            </caption>
            {head()}
            <tbody>
              {QUANTITIES.map((quantity) => (
                <tr class={quantity === "c" ? "apart" : undefined}>
                  <th scope="row" title={MEANING[quantity]}>{quantity}<span class="unseen"> ({MEANING[quantity]})</span></th>
                  {times.map((t) => {
                    // With a projection there are fewer h than cells.
                    if (quantity === "h" && one.unit >= session.width(one.cell, "h")) {
                      return <td class={t === cursor ? "cursor" : undefined} title="no h of its own" onClick={() => go(t)}><span class="unseen">none</span></td>;
                    }
                    const value = session.at(one, quantity, t);
                    return (
                      <td class={t === cursor ? "cursor" : undefined} title={`${quantity} ${short(value)}`}
                        style={{ backgroundColor: colour(quantity, value, k) }} onClick={() => go(t)}>
                        <span class="unseen">{short(value)}</span>
                      </td>
                    );
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        ))}
        {!session.isText && (
          <table id="inputs">
            <caption>The numbers that go in</caption>
            {head()}
            <tbody>
              {Array.from({ length: Math.min(8, session.rows[0].length) }, (_, j) => (
                <tr>
                  <th scope="row">x{j + 1}</th>
                  {times.map((t) => (
                    <td class={t === cursor ? "cursor" : undefined} title={short(session.rows[t][j])} onClick={() => go(t)}
                      style={{ backgroundColor: signed(session.rows[t][j] / widest[j], colours) }}>
                      <span class="unseen">{short(session.rows[t][j])}</span>
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        )}
        {session.isText && (
          <table class="predictions" id="predictions">
            <caption>What comes next, likeliest first</caption>
            {head()}
            <tbody>
              {Array.from({ length: Math.min(RANKS, session.vocabulary.count) }, (_, rank) => (
                <tr>
                  <th scope="row">{rank + 1}</th>
                  {times.map((t, k) => {
                    const one = next[k][rank];
                    const right = one.token === session.tokens[t + 1];
                    return (
                      <td class={`${t === cursor ? "cursor" : ""} ${right ? "right" : ""}`} style={{ backgroundColor: unsigned(one.p, colours) }}
                        title={`${session.vocabulary.name(one.token)}: ${percent(one.p)}${right ? ", which came" : ""}`} onClick={() => go(t)}>
                        {session.vocabulary.label(one.token)}<span class="unseen"> {percent(one.p)}{right ? ", which came" : ""}</span>
                      </td>
                    );
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </div>
      <p class="row">
        <button type="button" id="keep-cell" disabled={more.some((one) => same(one, place)) || more.length >= 4} onClick={() => {
          setMore([...more, place]);
          refocus("#gates caption button", "#tab-gates");
        }}>
          Keep {session.name(place)} here
        </button>
        <span class="muted">then choose another beside it{session.isText && "; underlined: it came"}</span>
      </p>
    </>
  );
}
