/** All cells at a glance, and those that follow something a reader sees. */

import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Shared } from "../shared";
import { featuresOf, LEAST_TOKENS, suggest, type Suggestion } from "../features";
import { extent, mixed, short, signed } from "../paint";
import type { Track } from "../search";
import type { Session } from "../session";

export function allTracks(session: Session, quantity: "c" | "h", cell?: number): Track[] {
  return session.cells
    .filter((one) => cell === undefined || one.cell === cell)
    .flatMap(({ cell }) => Array.from({ length: session.width(cell, quantity) }, (_, unit) => ({
      cell, unit, values: session.track({ cell, unit }, quantity),
    })));
}

/** The cells of all layers that follow something in the text, feature by feature. */
export function suggestionsOf(session: Session, tracks: Track[]): Suggestion[] {
  if (!session.isText) return [];
  const texts = session.shown.map((s) => (s.newline ? "\n" : s.name === "tab" ? "\t" : s.glyph));
  return suggest(featuresOf(texts), tracks, 3);
}

export function CellsView(shared: Shared) {
  const { session, place, quantity, cursor, colours, tracks, suggestions, choose, go } = shared;
  const grid = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const ofLayer = useMemo(() => tracks.filter((track) => track.cell === place.cell), [tracks, place.cell]);
  const most = useMemo(() => ofLayer.map(({ values }) => extent(values)), [ofLayer]);
  const features = [...new Set(suggestions.map((s) => s.feature))];

  useEffect(() => {
    const picture = canvas.current!;
    const T = session.length;
    picture.width = Math.max(1, Math.min(T, 4096));
    picture.height = ofLayer.length;
    const context = picture.getContext("2d")!;
    const image = context.createImageData(picture.width, picture.height);
    ofLayer.forEach(({ values }, row) => {
      for (let column = 0; column < picture.width; column++) {
        const t = T > 4096 ? Math.floor((column * T) / 4096) : column;
        const colour = mixed(values[t] / most[row], colours);
        image.data.set([...colour, 255], 4 * (row * picture.width + column));
      }
    });
    context.putImageData(image, 0, 0);
  }, [ofLayer, colours]);

  const columns = 16;
  const keys = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (!step) return;
    const unit = place.unit + step;
    if (unit >= 0 && unit < ofLayer.length) {
      choose({ cell: place.cell, unit });
      (grid.current!.children[unit] as HTMLElement).focus();
    }
    event.preventDefault();
  };

  return (
    <>
      {session.isText && (
        <>
          <h2>Cells worth a look</h2>
          <p class="hint">
            How well a cell's {quantity} follows something in this text: Pearson's r, and in brackets the weaker |r| of
            the text's two halves.
          </p>
          {features.length ? (
            <ul class="suggestions" id="suggestions">
              {features.map((feature) => (
                <li>
                  <span>{feature}</span>
                  <span class="chips">
                    {suggestions.filter((s) => s.feature === feature).map((s) => (
                      <button type="button" aria-pressed={s.cell === place.cell && s.unit === place.unit}
                        aria-label={`${feature}: ${session.name(s)}, r ${short(s.r)}, weaker half ${short(s.firm)}`}
                        onClick={() => choose({ cell: s.cell, unit: s.unit })}>
                        {session.cells.length > 1 && <small>L{s.cell + 1} · </small>}{s.unit}
                        <small> {s.r > 0 ? "+" : ""}{short(s.r)} ({short(s.firm)})</small>
                      </button>
                    ))}
                  </span>
                </li>
              ))}
            </ul>
          ) : session.length < LEAST_TOKENS ? (
            <p class="muted" id="too-short">This text is too short for that: it has {session.length} tokens, and it takes {LEAST_TOKENS}.</p>
          ) : <p class="muted">No cell follows the same thing in both halves of this text; a longer text shows more.</p>}
        </>
      )}
      {quantity === "h" && ofLayer.length < session.width(place.cell, "c") && (
        <p class="hint">This model has a projection: its {ofLayer.length} h are each a mixture of all {session.width(place.cell, "c")} cells.</p>
      )}
      <h2>All cells, after this {session.isText ? "token" : "step"}</h2>
      <p class="hint">One square a cell{session.cells.length > 1 ? ` of ${session.cells[place.cell].name}` : ""}; press one to colour the {session.isText ? "text" : "steps"} with it.</p>
      <div class="squares" id="squares" ref={grid} role="group" aria-label="All cells" onKeyDown={keys}>
        {ofLayer.map(({ unit, values }, k) => (
          <button type="button" aria-pressed={unit === place.unit} tabIndex={unit === place.unit ? 0 : -1}
            aria-label={`cell ${unit}: ${short(values[cursor])}`} title={`cell ${unit}: ${short(values[cursor])}`}
            style={{ backgroundColor: signed(values[cursor] / most[k], colours) }}
            onClick={() => choose({ cell: place.cell, unit })} />
        ))}
      </div>
      <h2>All cells, over the whole {session.isText ? "text" : "input"}</h2>
      <p class="hint">One row a cell, one column a {session.isText ? "token" : "step"}, each row in its own full colour.</p>
      <div class="overview">
        <canvas ref={canvas} role="img" id="overview" style={{ imageRendering: session.length < 700 ? "pixelated" : "auto" }}
          aria-label={`${quantity} of ${ofLayer.length} cells over ${session.length} tokens; the squares above say the same for one token`}
          onClick={(event) => {
            const box = event.currentTarget.getBoundingClientRect();
            const unit = Math.floor(((event.clientY - box.top) / box.height) * ofLayer.length);
            choose({ cell: place.cell, unit: Math.max(0, Math.min(unit, ofLayer.length - 1)) });
            go(Math.floor(((event.clientX - box.left) / box.width) * session.length));
          }} />
        <i class="now" style={{ left: `${((cursor + 0.5) / session.length) * 100}%` }} />
        <i class="row-mark" style={{ top: `${((place.unit + 0.5) / ofLayer.length) * 100}%` }} />
      </div>
    </>
  );
}
