/**
 * A slot is where a subsystem keeps its state of an object that lives below it: event channels of a domain, timers of
 * a vCPU. The object stays ignorant of the subsystem, so imports keep going down, and `of` is one array index.
 */
export interface Slots {
  readonly slots: unknown[];
}

export interface Slot<Owner extends Slots, T> {
  /** The owner's state, made on first use. */
  of(owner: Owner): T;
}

let count = 0;

export function defineSlot<Owner extends Slots, T>(create: (owner: Owner) => T): Slot<Owner, T> {
  const index = count++;
  return {
    of(owner) {
      const present = owner.slots[index];
      if (present !== undefined) return present as T;
      const made = create(owner);
      owner.slots[index] = made;
      return made;
    },
  };
}
