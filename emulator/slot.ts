/**
 * A slot is where a subsystem keeps its state of an object that lives below it: event channels of a domain, timers of
 * a vCPU. The object stays ignorant of the subsystem, so imports keep going down, and `of` is one array index. Each slot
 * says how its state is kept when a domain is saved, so that none is forgotten (saved_domain.ts).
 */
export interface Slots {
  readonly slots: unknown[];
}

export interface Slot<Owner extends Slots, T> {
  /** The owner's state, made on first use. */
  of(owner: Owner): T;
}

/** How state gets into a saved domain and out of it again. Without functions it is plain data (plain_data.ts) itself. */
export interface Keeping<Owner, T, Host> {
  /** Unlike all others', and the same in every version of ours. */
  readonly name: string;
  /** Worth nothing in another machine: it is made anew there. */
  readonly isTransient?: true;
  /** Plain data that `load` makes it of. A NotSavable where it cannot be taken along. */
  save?(state: T, owner: Owner, host: Host): unknown;
  /** The owner's other state may not be there yet, but its memory and time are. */
  load?(saved: unknown, owner: Owner, host: Host): T;
}

/** Why a domain cannot be saved as it is: a sentence for its owner. */
export class NotSavable extends Error {}

type AnyKeeping = Keeping<Slots, unknown, unknown>;

/** By the slot's index; undefined: nobody has said how it is kept. */
const keepings: (AnyKeeping | undefined)[] = [];

export function defineSlot<Owner extends Slots, T, Host = unknown>(
  create: (owner: Owner) => T,
  keeping?: Keeping<Owner, T, Host>,
): Slot<Owner, T> {
  const index = keepings.length;
  keepings.push(keeping as AnyKeeping | undefined);
  const make = (owner: Owner): T => {
    const made = create(owner);
    owner.slots[index] = made;
    return made;
  };
  return { of: (owner) => (owner.slots[index] as T | undefined) ?? make(owner) };
}

/** The names of all slots. */
export const slotNames = (): readonly (string | undefined)[] => keepings.map((keeping) => keeping?.name);

/** All that the owner's slots hold, by their names. */
export function saveSlots<Owner extends Slots>(owner: Owner, host: unknown): Map<string, unknown> {
  const saved = new Map<string, unknown>();
  for (const [index, state] of owner.slots.entries()) {
    if (state === undefined) continue;
    const keeping = keepings[index];
    if (keeping === undefined) throw new Error(`bug: slot ${index} does not say how it is kept`);
    if (keeping.isTransient) continue;
    saved.set(keeping.name, keeping.save ? keeping.save(state, owner, host) : state);
  }
  return saved;
}

/** The name of one that this version does not know; undefined: all are there again. */
export function loadSlots<Owner extends Slots>(owner: Owner, saved: ReadonlyMap<string, unknown>, host: unknown): string | undefined {
  for (const [name, data] of saved) {
    const index = keepings.findIndex((keeping) => keeping?.name === name);
    const keeping = keepings[index];
    if (keeping === undefined || keeping.isTransient) return name;
    owner.slots[index] = keeping.load ? keeping.load(data, owner, host) : data;
  }
  return undefined;
}
