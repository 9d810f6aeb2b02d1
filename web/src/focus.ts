/** Where the keyboard goes on when what had the focus is gone, or can no longer be pressed. */

/** After the next drawing, to the first of these that is there; nowhere while something has the focus. */
export function refocus(...selectors: string[]): void {
  requestAnimationFrame(() => {
    const active = document.activeElement as (HTMLElement & { disabled?: boolean }) | null;
    if (active && active !== document.body && !active.disabled) return;
    const found = selectors.map((one) => document.querySelector<HTMLElement>(`${one}:not(:disabled)`));
    found.find((one) => one)?.focus();
  });
}
