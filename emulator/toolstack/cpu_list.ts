/**
 * Sets of physical CPUs as xl writes them: `all`, `3`, `0-2,5`, `all,^1`, `nodes:0` (there is one node). The whole line of
 * xl's checks and its words are kept (xen:tools/xl/xl_parse.c parse_cpurange, xl_utils.c print_bitmap).
 */

/** CPU numbers, ascending; undefined: there is no such list. A number beyond the host's CPUs stays in it. */
export function parseCpuList(text: string, cpuCount: number): readonly number[] | undefined {
  const all = Array.from({ length: cpuCount }, (_, cpu) => cpu);
  const set = new Set<number>();
  for (const word of text.split(',').map((part) => part.trim())) {
    if (word === '') continue;
    const isWithout = word.startsWith('^');
    const range = parseRange(isWithout ? word.slice(1) : word, all);
    if (range === undefined) return undefined;
    for (const cpu of range) {
      if (isWithout) set.delete(cpu);
      else set.add(cpu);
    }
  }
  return [...set].sort((a, b) => a - b);
}

const MAX_CPU = 4095;

function parseRange(word: string, all: readonly number[]): readonly number[] | undefined {
  if (word === 'all') return all;
  const [, nodes, first, last = first] = /^(nodes?:)?(\d+)(?:-(\d+))?$/.exec(word) ?? [];
  if (word === 'nodes:all' || word === 'node:all') return all;
  if (first === undefined || Number(last) < Number(first) || Number(last) > MAX_CPU) return undefined;
  if (nodes !== undefined) return Number(first) === 0 ? all : [];
  return Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i);
}

/** `all`, `none` or ranges, as xl vcpu-list shows them. */
export function formatCpuList(cpus: readonly number[], cpuCount: number): string {
  if (cpus.length >= cpuCount) return 'all';
  if (cpus.length === 0) return 'none';
  const ranges: { first: number; last: number }[] = [];
  for (const cpu of cpus) {
    const range = ranges.at(-1);
    if (range !== undefined && range.last === cpu - 1) range.last = cpu;
    else ranges.push({ first: cpu, last: cpu });
  }
  return ranges.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}
