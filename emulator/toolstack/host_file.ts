/**
 * HOST.toml: a host and the domains that it boots, with xl.cfg's names where xl.cfg has one. What is wrong is told with file,
 * line, key, the value seen and what to write instead. `beneath create` reads a file of one domain, or of xl.cfg's bare keys.
 */
import parseToml from '@iarna/toml/parse-string.js';
import { type DomainDescription, domainKeys, type HostDescription, hostKeys, type Keys, Wrong } from './host_keys.ts';
import { nearestWord } from './nearest_word.ts';
import { lineOf, type Path } from './toml_lines.ts';

/** A mistake in a host file, in one line. */
export class HostFileError extends Error {}

type Table = Readonly<Record<string, unknown>>;

const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

/** The text of one file, and how to speak of its places. */
class Source {
  readonly file: string;
  readonly text: string;

  constructor(file: string, text: string) {
    this.file = file;
    this.text = text;
  }

  fail(place: Path, what: string): never {
    const line = lineOf(this.text, place);
    throw new HostFileError(`${this.file}:${line === undefined ? '' : `${line}:`} ${what}`);
  }

  parse(): Table {
    try {
      return parseToml(this.text);
    } catch (error) {
      const { line, message } = error as { line?: number; message: string };
      const [reason] = message.split(/ at row| at position|\n/);
      throw new HostFileError(`${this.file}:${line === undefined ? '' : `${line + 1}:`} this is no TOML: ${reason}`);
    }
  }

  /** What `keys` make of `table`, whose values are all looked at. */
  read<T extends object>(table: Table, keys: Keys<T>, place: Path): T {
    const names = Object.keys(keys);
    const read: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(table)) {
      const row = Object.hasOwn(keys, name) ? keys[name as keyof Keys<T>] : undefined;
      if (row === undefined) this.#refuse([...place, name], name, names);
      try {
        read[row.field] = row.read(value);
      } catch (error) {
        if (!(error instanceof Wrong)) throw error;
        this.fail([...place, name], `${name} = ${show(value)}: ${error.message}`);
      }
    }
    for (const [name, row] of Object.entries(keys) as [string, Keys<T>[keyof Keys<T>]][]) {
      if (read[row.field] !== undefined) continue;
      if (row.isNeeded) this.fail(place, `${name} is missing; write ${row.example}`);
      read[row.field] = row.otherwise;
    }
    return read as T;
  }

  #refuse(place: Path, name: string, names: readonly string[]): never {
    const nearest = nearestWord(name, names);
    this.fail(place, `there is no key '${name}'${nearest ? `; do you mean ${nearest}?` : `; there are ${names.join(', ')}`}`);
  }
}

function show(value: unknown): string {
  const text = typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

export function readHostFile(file: string, text: string): HostDescription {
  const source = new Source(file, text);
  const { host = {}, domain: list = [], ...others } = source.parse();
  for (const key of Object.keys(others)) {
    source.fail(
      [key],
      `there is no ${isTable(others[key]) ? `table [${key}]` : `key '${key}'`} here; a host file has [host] and [[domain]]`,
    );
  }
  if (!isTable(host)) source.fail(['host'], 'host is a table; write [host] in a line of its own');
  const domains = Array.isArray(list) ? list.filter(isTable) : [];
  if (!Array.isArray(list) || domains.length < list.length)
    source.fail(['domain'], 'domain is a list of tables; write [[domain]] before each');
  const description = source.read(host as Table, hostKeys, ['host']);
  if (description.cores !== undefined && description.topology !== undefined)
    source.fail(['host', 'cores'], 'cores and topology say the same; leave one of them out');
  const read = domains.map((table, index) => source.read(table, domainKeys, ['domain', index]));
  checkDomains(source, description.memory, read);
  return { ...description, domains: read };
}

function checkDomains(source: Source, hostMemory: number, domains: readonly DomainDescription[]): void {
  let left = hostMemory;
  for (const [index, domain] of domains.entries()) {
    const { name, memory } = domain;
    const same = domains.findIndex((other) => other.name === name);
    if (same < index) source.fail(['domain', index, 'name'], `name = ${show(name)}: another domain has it; give each its own`);
    checkTogether(source, ['domain', index], domain);
    left -= memory;
    if (left < 0) {
      const needed = (hostMemory - left) / 1024 / 1024;
      source.fail(
        ['domain', index, 'memory'],
        `memory: up to here the domains have ${needed}M, and [host] memory is ${hostMemory / 1024 / 1024}M; give the host more`,
      );
    }
  }
}

/** What is right alone and wrong beside another key. */
function checkTogether(source: Source, place: Path, { memory, maxmem, vcpus, maxvcpus = vcpus, cap }: DomainDescription): void {
  if (maxmem !== undefined && maxmem < memory) source.fail([...place, 'maxmem'], 'maxmem is less than memory; give it at least that');
  if (maxvcpus < vcpus) source.fail([...place, 'maxvcpus'], `maxvcpus = ${maxvcpus}: it has ${vcpus} vcpus; give at least so many`);
  const most = 100 * maxvcpus;
  if (cap > most) source.fail([...place, 'cap'], `cap = ${cap}: give at most ${most}, 100 for each vCPU`);
}

/** One domain: a file's only [[domain]], or keys without a table as in xl.cfg; `changes` (`key=value`) go before the file's. */
export function readDomainFile(file: string, text: string, changes: readonly string[] = []): DomainDescription {
  const source = new Source(file, text);
  const table = source.parse();
  const list = table.domain;
  if (Array.isArray(list) && (list.length !== 1 || !isTable(list[0])))
    source.fail(['domain', 1], `it has ${list.length} domains; a new one is made from a file of one`);
  const place = Array.isArray(list) ? ['domain', 0] : [];
  const own = Array.isArray(list) ? (list[0] as Table) : table;
  const changed = changes.map(readChange);
  // A changed key is judged where it was typed.
  for (const change of changed) change.source.read({ name: '-', kernel: '-', ...change.table }, domainKeys, []);
  const description = source.read(Object.assign({}, own, ...changed.map((change) => change.table)) as Table, domainKeys, place);
  checkTogether(source, place, description);
  return description;
}

/** `memory=64`, `name='x'`, or as a shell leaves it: `name=x`. */
function readChange(text: string): { source: Source; table: Table } {
  const quoted = new Source(text, text);
  try {
    return { source: quoted, table: quoted.parse() };
  } catch {
    const [, key, value] = /^\s*([\w-]+)\s*=\s*(.*)$/s.exec(text) ?? [];
    if (key === undefined || value === undefined) throw new HostFileError(`${text}: this is no setting; write key=value`);
    return { source: quoted, table: { [key]: value } };
  }
}
