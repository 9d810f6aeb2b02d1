/** Hold a gate open or shut, or a memory at zero, and see the predictions change. */

import { mean } from "d3-array";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Shared } from "../shared";
import type { Pin } from "../cell";
import { refocus } from "../focus";
import { softmax } from "../network";
import { extent, percent, short, unsigned } from "../paint";
import { likeliest } from "../sampling";
import type { Held } from "../session";
import { seen } from "../tokens";

const CHOICES: { label: string; pin: Pin; value: number }[] = [
  { label: "forget gate open", pin: "f", value: 1 },
  { label: "forget gate shut", pin: "f", value: 0 },
  { label: "input gate open", pin: "i", value: 1 },
  { label: "input gate shut", pin: "i", value: 0 },
  { label: "output gate open", pin: "o", value: 1 },
  { label: "output gate shut", pin: "o", value: 0 },
  { label: "memory at zero", pin: "c", value: 0 },
];

export function HoldView(shared: Shared) {
  const { session, version, place, cursor, colours, paint, work } = shared;
  const [which, setWhich] = useState(6);
  const hold = (held: Held[]) =>
    void work((progress) => session.hold(held, progress)).then(() => refocus("#held li:nth-last-child(2) button", "#hold-one"));
  const add = (all: boolean) => {
    const { pin, value } = CHOICES[which];
    const places = all
      ? Array.from({ length: session.cells[place.cell].units }, (_, unit) => ({ cell: place.cell, unit }))
      : [place];
    const fresh = places.map((one) => ({ ...one, pin, value }));
    const kept = session.held.filter((old) => !fresh.some((one) => one.cell === old.cell && one.unit === old.unit && one.pin === old.pin));
    hold([...kept, ...fresh]);
  };

  const change = useMemo(() => {
    if (!session.held.length) return null;
    if (!session.isText) {
      const top = session.stack.outputs();
      const held = session.otherStack.outputs();
      const values = Float64Array.from(top, (h, t) => Math.hypot(...h.map((v, k) => held[t][k] - v)));
      return { values, before: 0, after: 0 };
    }
    const before = session.bits(session.language!);
    const after = session.bits(session.other!);
    return { values: before.map((b, t) => b - after[t]), before: mean(before)!, after: mean(after)! };
  }, [version]);
  useEffect(() => {
    if (change) {
      const caption = session.isText ? "change of log₂ p of each token" : "how far the output moved";
      paint({ values: change.values, most: extent(change.values), caption });
    } else paint(null);
    return () => paint(null);
  }, [change]);

  // One line for cells that share a gate and a value.
  const groups = new Map<string, Held[]>();
  for (const one of session.held) {
    const key = `${one.cell} ${one.pin} ${one.value}`;
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const before = session.logits(cursor, session.language);
  const after = session.held.length ? session.logits(cursor, session.other) : undefined;
  const rows = before ? likeliest(before, 6).map((one) => one.token) : [];
  if (after) for (const { token } of likeliest(after, 6)) if (!rows.includes(token)) rows.push(token);
  const pBefore = before ? softmax(before) : null;
  const pAfter = after ? softmax(after) : null;

  return (
    <>
      <h2>What if?</h2>
      <p class="hint">Hold a gate of {session.name(place)} at a value from the first step to the last, and read {session.isText ? "the text" : "the input"} again.</p>
      <div class="row">
        <label>Hold{" "}
          <select id="hold-what" value={which} onChange={(event) => setWhich(Number(event.currentTarget.value))}>
            {CHOICES.map(({ label }, k) => <option value={k}>{label}</option>)}
          </select>
        </label>
        <button type="button" class="main" id="hold-one" onClick={() => add(false)}>of {session.name(place)}</button>
        <button type="button" id="hold-all" onClick={() => add(true)}>of every cell{session.cells.length > 1 ? " in the layer" : ""}</button>
      </div>
      {session.held.length > 0 && (
        <ul class="held" id="held">
          {[...groups.entries()].map(([key, places]) => (
            <li key={key}>
              {CHOICES.find((c) => c.pin === places[0].pin && c.value === places[0].value)!.label} of{" "}
              {places.length === 1 ? session.name(places[0]) : `${places.length} cells of ${session.cells[places[0].cell].name}`}
              <button type="button" class="quiet" aria-label="Let go" onClick={() => hold(session.held.filter((one) => `${one.cell} ${one.pin} ${one.value}` !== key))}>×</button>
            </li>
          ))}
          <li key="all"><button type="button" id="let-go" onClick={() => hold([])}>Let go of all</button></li>
        </ul>
      )}
      {change && session.isText && (
        <p id="hold-effect">
          The text costs <b>{short(change.before)}</b> bits a token without, <b>{short(change.after)}</b> with it. The text
          is coloured by the change: cool tokens became less likely.
        </p>
      )}
      {change && !session.isText && <p id="hold-effect">The steps are coloured by how far the output moved.</p>}
      {pBefore && (
        <>
          <h3>What comes next after <b class="token">{seen(session.shown[cursor])}</b></h3>
          <table class="compare" id="compare">
            <thead><tr><th scope="col">token</th><th scope="col">as it is</th>{pAfter && <th scope="col">held</th>}</tr></thead>
            <tbody>
              {rows.map((token) => (
                <tr>
                  <th scope="row" class="token">{session.vocabulary.label(token)}</th>
                  <td style={{ backgroundColor: unsigned(pBefore[token], colours) }}>{percent(pBefore[token])}</td>
                  {pAfter && <td style={{ backgroundColor: unsigned(pAfter[token], colours) }}>{percent(pAfter[token])}</td>}
                </tr>
              ))}
            </tbody>
          </table>
        </>
      )}
    </>
  );
}
