/** How much each earlier token moved this prediction: exact backpropagation through time. */

import { max } from "d3-array";
import { scaleLinear, scaleLog } from "d3-scale";
import { line } from "d3-shape";
import { useEffect, useState } from "preact/hooks";
import type { Shared } from "../shared";
import { extent, percent, short, signed } from "../paint";
import { softmax } from "../network";
import { inSlices, type Place, type Why } from "../session";
import { seen } from "../tokens";

type Measure = "dot" | "norm";
const REACH = 160; // tokens shown in the strips
const W = 560;
const H = 190;
const LEFT = 56;

/** The gradients of one token, as far as they are computed: the text may have moved on since. */
interface Result {
  version: number;
  at: number;
  place: Place;
  quantity: "c" | "h";
  own: Why;
  other: Why | null;
}

export function WhyView(shared: Shared) {
  const { session, version, cursor, place, quantity } = shared;
  const [result, setResult] = useState<Result | null>(null);
  useEffect(() => {
    let wanted = true;
    const still = () => wanted;
    const follow = async () => {
      const own = await inSlices(
        session.isText ? session.following(cursor, session.currentLanguage!) : session.followingUnit(cursor, place, quantity),
        still,
      );
      const other = session.rnn && own && (await inSlices(session.following(cursor, session.rnn), still));
      if (own && wanted) setResult({ version, at: cursor, place, quantity, own, other: other || null });
    };
    void follow();
    return () => {
      wanted = false;
    };
  }, [cursor, version, ...(session.isText ? [] : [place, quantity])]);
  // The gradient of another text says nothing of this one.
  if (!result || result.version !== session.version) return <p class="muted">Following the gradient back …</p>;
  const stale = result.at !== cursor || (!session.isText && (result.place !== place || result.quantity !== quantity));
  return <Answer shared={shared} result={result} stale={stale} />;
}

function Answer({ shared, result, stale }: { shared: Shared; result: Result; stale: boolean }) {
  const { session, colours, paint, go } = shared;
  const { at: cursor, place, quantity, own, other } = result;
  const [measure, setMeasure] = useState<Measure>("dot");
  const otherName = session.data.rnn?.name ?? "RNN";

  const input = session.isText ? "embedding" : "input";
  useEffect(() => {
    const values = own[measure];
    paint({ values, most: extent(values), caption: measure === "dot" ? `gradient · ${input}` : "length of the gradient" });
    return () => paint(null);
  }, [own, measure]);

  const start = Math.max(0, own.dot.length - REACH);
  const strip = (values: Float64Array) => {
    const most = extent(values);
    return (
      <p class="strip">
        {start > 0 && "… "}
        {Array.from(values.subarray(start), (value, k) => (
          <span style={{ backgroundColor: signed(value / most, colours) }} title={short(value)} onClick={() => go(start + k)}>
            {session.shown[start + k].newline ? "↵ " : session.isText ? session.shown[start + k].glyph : `${start + k} `}
          </span>
        ))}
        {session.isText && <b class="token target">{seen(session.shown[cursor])}</b>}
      </p>
    );
  };
  const strongest = Array.from(own[measure], (value, t) => ({ value, t }))
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value))
    .slice(0, 5);

  const told = session.isText ? (
    <>
      What made <b class="token">{session.vocabulary.label(session.tokens[cursor])}</b> likely here (p ={" "}
      {percent(softmax(session.currentLanguage!.logits[cursor])[session.tokens[cursor]])})? The exact gradient of
      ln p in the embedding of every earlier token, back to the text's first.{" "}
      {measure === "dot"
        ? "Shown: gradient · embedding. Warm tokens made it likelier, cool ones less likely, to first order."
        : "Shown: the gradient's length. It says how much a small change there would matter, not which way."}
    </>
  ) : (
    <>
      What moved {quantity} of {session.name(place)} at step {cursor}? Its exact gradient in every input,{" "}
      {measure === "dot" ? "times that input (a sum over its numbers)." : "as a length."}
    </>
  );
  return (
    <div class={stale ? "why stale" : "why"} data-at={cursor}>
      <h2>Why this {session.isText ? "token" : "value"}?</h2>
      <div class="switch" role="group" aria-label="Measure">
        <button type="button" aria-pressed={measure === "dot"} onClick={() => setMeasure("dot")}>gradient · {input}</button>
        <button type="button" aria-pressed={measure === "norm"} onClick={() => setMeasure("norm")}>gradient length</button>
      </div>
      <p class="hint">{told}</p>
      {own.dot.length === 0 ? <p class="muted">Nothing stands before the first token; press a later one.</p> : (
        <>
          {other && <p class="hint">Each model in its own full colour; {otherName.toLowerCase().replace("rnn", "RNN")} gave it p = {percent(softmax(session.rnn!.logits[cursor])[session.tokens[cursor]])}.</p>}
          <h3>LSTM</h3>
          <div id="why-lstm">{strip(own[measure])}</div>
          {other && <><h3>{otherName}</h3><div id="why-rnn">{strip(other[measure])}</div></>}
          <h3>How far back the gradient reaches</h3>
          <Reach own={own.norm} other={other?.norm ?? null} otherName={otherName} at={cursor} unit={session.isText ? "tokens" : "steps"} />
          <h3>Strongest</h3>
          <ol class="strongest">
            {strongest.map(({ value, t }) => (
              <li><button type="button" class="quiet" onClick={() => go(t)}>
                <b class="token">{seen(session.shown[t])}</b> {Math.abs(cursor - t)} {t <= cursor ? "before" : "after"}: {short(value)}
              </button></li>
            ))}
          </ol>
        </>
      )}
    </div>
  );
}

/** ‖gradient‖ against distance, on a logarithmic scale. */
function Reach({ own, other, otherName, at, unit }: { own: Float64Array; other: Float64Array | null; otherName: string; at: number; unit: string }) {
  const far = Math.min(at, 300);
  const series = [own, ...(other ? [other] : [])].map((values) =>
    Array.from({ length: far }, (_, k) => ({ distance: k + 1, value: values[at - 1 - k] ?? 0 })),
  );
  const top = max(series.flat(), (d) => d.value) ?? 1;
  const x = scaleLinear([1, Math.max(2, far)], [LEFT, W - 22]);
  const least = Math.max(top * 1e-12, 1e-30);
  const y = scaleLog([least, Math.max(top * 1.5, least * 10)], [H - 28, 8]);
  const draw = line<{ distance: number; value: number }>((d) => x(d.distance), (d) => y(d.value))
    .defined((d) => d.value >= least);
  const decades = y.ticks(5).filter((tick) => Math.round(Math.log10(tick)) % 3 === 0);
  const label = series.map((s, k) => `${k ? otherName : "LSTM"}: ${short(s[0]?.value ?? 0)} at once, ${short(s[far - 1]?.value ?? 0)} at ${far}`).join("; ");
  return (
    <figure class="chart">
      <svg viewBox={`0 0 ${W} ${H}`} role="img" aria-label={`Length of the gradient against distance. ${label}`}>
        {decades.map((tick) => (
          <g>
            <line x1={LEFT} x2={W - 22} y1={y(tick)} y2={y(tick)} class="grid" />
            <text x={LEFT - 6} y={y(tick) + 4} text-anchor="end">{tick === 1 ? "1" : `1e${Math.round(Math.log10(tick))}`}</text>
          </g>
        ))}
        {x.ticks(6).filter(Number.isInteger).map((tick) => <text x={x(tick)} y={H - 10} text-anchor="middle">{tick}</text>)}
        {series.map((one, k) => <path d={draw(one) ?? ""} class={k ? "line other" : "line own"} />)}
      </svg>
      <figcaption>
        <span class="key own" /> LSTM {other && <><span class="key other" /> {otherName}</>} <span class="muted">· length of the gradient, against {unit} back</span>
      </figcaption>
    </figure>
  );
}
