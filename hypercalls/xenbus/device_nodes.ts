/**
 * The nodes of a paravirtual device as its back end has them: its own, where its `state` is told, and the front end's, which
 * are the guest's word. xen:public/io/xenbus.h. Which state follows which is each kind of back end's own affair.
 */
import { XenbusState } from '../abi/xenbus.ts';
import { domainPath } from '../xenstore/path.ts';
import type { XenStore } from '../xenstore/store.ts';

export interface DevicePaths {
  readonly frontend: string;
  readonly backend: string;
}

/** Where the two ends of a domain's device have their nodes. */
export const devicePaths = (domid: number, kind: string, number: number): DevicePaths => ({
  frontend: `${domainPath(domid)}/device/${kind}/${number}`,
  backend: `${domainPath(0)}/backend/${kind}/${domid}/${number}`,
});

export type Nodes = Readonly<Record<string, string | number>>;

/**
 * Makes the nodes before the domain runs, as libxl does: both ends', and its own copy of the back end's. What is
 * `unchangeable` stands with the front end's, but the guest may only read it.
 */
export function populateDevice(
  store: XenStore,
  domid: number,
  kind: string,
  number: number,
  { frontend, unchangeable = {}, backend }: { frontend: Nodes; unchangeable?: Nodes; backend: Nodes },
): DevicePaths {
  const paths = devicePaths(domid, kind, number);
  const putAll = (base: string, nodes: Nodes): void => {
    for (const [key, value] of Object.entries(nodes)) store.write(`${base}/${key}`, String(value));
  };
  const state = XenbusState.Initialising;
  const backendNodes = { frontend: paths.frontend, 'frontend-id': domid, online: 1, state, ...backend };
  store.mkdir(paths.frontend);
  store.setPermissions(paths.frontend, [`n${domid}`, 'r0']);
  putAll(paths.frontend, { backend: paths.backend, 'backend-id': 0, state, ...frontend });
  for (const [key, value] of Object.entries(unchangeable)) {
    store.write(`${paths.frontend}/${key}`, String(value));
    store.setPermissions(`${paths.frontend}/${key}`, ['n0', `r${domid}`]);
  }
  store.mkdir(paths.backend);
  store.setPermissions(paths.backend, ['n0', `r${domid}`]);
  putAll(paths.backend, backendNodes);
  putAll(`/libxl/${domid}/device/${kind}/${number}`, { backend: paths.backend, ...backendNodes });
  return paths;
}

export class DeviceNodes {
  readonly #store: XenStore;
  readonly #paths: DevicePaths;
  #state: number;

  constructor(store: XenStore, paths: DevicePaths, state: number = XenbusState.Initialising) {
    this.#store = store;
    this.#paths = paths;
    this.#state = state;
  }

  get state(): number {
    return this.#state;
  }

  become(state: number): void {
    this.#state = state;
    this.put({ state });
  }

  put(nodes: Nodes): void {
    for (const [key, value] of Object.entries(nodes)) this.#store.write(`${this.#paths.backend}/${key}`, String(value));
  }

  /** A node of the front end's. */
  read(key: string): string | undefined {
    return this.#store.read(`${this.#paths.frontend}/${key}`);
  }

  /** One that has a number; undefined: it has not. */
  readNumber(key: string): number | undefined {
    const text = this.read(key);
    return text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : undefined;
  }

  /** `changed` runs whenever the front end's state may have become another. */
  watchState(changed: (state: number | undefined) => void): () => void {
    return this.#store.watch(`${this.#paths.frontend}/state`, () => changed(this.readNumber('state')));
  }

  /** Leaves word of what went wrong where a person looks for it. */
  tellError(why: string): void {
    this.#store.write(`${domainPath(0)}/error/${this.#paths.backend.slice(domainPath(0).length + 1)}/error`, why);
  }
}
