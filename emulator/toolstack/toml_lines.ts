/** In which line of a TOML text a key stands; the parser does not tell of what it understood. Counted from 1. */

/** `table` is '' for the keys before the first header; `index` counts the headers of that name, from 0. */
export interface Place {
  readonly table: string;
  readonly index: number;
  /** undefined: the header's own line. */
  readonly key: string | undefined;
}

const HEADER = /^\s*\[\[?\s*["']?([^\]"']+?)["']?\s*\]\]?/;
const KEY = /^\s*(?:"([^"]+)"|'([^']+)'|([\w-]+))\s*(?:\.[^=]*)?=/;

/** undefined: it stands nowhere, so a default was wrong or the text is not what was parsed. */
export function lineOf(text: string, { table, index, key }: Place): number | undefined {
  let currentTable = '';
  let seen = 0;
  const isHere = (): boolean => currentTable === table && (table === '' || seen === index + 1);
  for (const [i, line] of text.split('\n').entries()) {
    const header = HEADER.exec(line)?.[1];
    if (header !== undefined) {
      currentTable = header;
      if (header === table) seen++;
      if (key === undefined && isHere()) return i + 1;
      continue;
    }
    const [, double, single, bare] = KEY.exec(line) ?? [];
    if (key !== undefined && isHere() && key === (double ?? single ?? bare)) return i + 1;
  }
  return undefined;
}
