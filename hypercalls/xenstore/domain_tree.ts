/**
 * The nodes that xl 4.17 makes for a PV domain before it runs: its own directory, its /vm entry, the console's back end and
 * libxl's notes, each with its permissions. Read off a real one (`xenstore-ls -fp`).
 */
import { domainPath } from './path.ts';
import type { XenStore } from './store.ts';

export interface RingAddress {
  readonly port: number;
  readonly mfn: number;
}

export interface DomainTreeOptions {
  readonly memoryKib: number;
  /** Default memoryKib. */
  readonly maxMemoryKib?: number;
  readonly vcpus: number;
  readonly store: RingAddress;
  readonly console: RingAddress;
  readonly kernel?: string;
  readonly cmdline?: string;
  readonly ramdisk?: string;
  /** By default made from domid and name, so that the same run has the same tree. */
  readonly uuid?: string;
  readonly startTime?: string;
}

export function populateDomainTree(
  store: XenStore,
  domain: { readonly id: number; readonly name: string },
  options: DomainTreeOptions,
): void {
  const { id, name } = domain;
  const { memoryKib, maxMemoryKib = memoryKib, vcpus, kernel, cmdline, ramdisk, uuid = uuidOf(id, name), startTime = '0.00' } = options;
  const home = domainPath(id);
  const vm = `/vm/${uuid}`;
  const backend = `${domainPath(0)}/backend/console/${id}/0`;
  const device = `/libxl/${id}/device/console/0`;
  const readOnly = ['n0', `r${id}`];
  const guests = [`n${id}`];

  store.introduce(id);
  const put = (path: string, value: string | number, permissions?: readonly string[]) => {
    store.write(path, String(value));
    if (permissions !== undefined) store.setPermissions(path, permissions);
  };
  const putBelow = (path: string, values: Readonly<Record<string, string | number | undefined>>) => {
    for (const [key, value] of Object.entries(values)) if (value !== undefined) put(`${path}/${key}`, value);
  };

  const status = { 'frontend-id': id, online: 1, state: 1, protocol: 'vt100' };
  put(backend, '', readOnly);
  putBelow(backend, { frontend: `${home}/console`, ...status });

  put(home, '', readOnly);
  putBelow(home, { vm, name, cpu: '' });
  for (let vcpu = 0; vcpu < vcpus; vcpu++) put(`${home}/cpu/${vcpu}/availability`, 'online');
  putBelow(home, {
    memory: '',
    'memory/static-max': maxMemoryKib,
    'memory/target': memoryKib,
    'memory/videoram': 0,
    device: '',
    'device/suspend': '',
  });
  put(`${home}/device/suspend/event-channel`, '', guests);
  put(`${home}/control`, '');
  for (const key of ['shutdown', 'feature-poweroff', 'feature-reboot', 'feature-suspend', 'sysrq'])
    put(`${home}/control/${key}`, '', guests);
  putBelow(`${home}/control`, { 'platform-feature-multiprocessor-suspend': 1, 'platform-feature-xs_reset_watches': 1 });
  for (const key of ['data', 'drivers', 'feature', 'attr', 'error']) put(`${home}/${key}`, '', guests);
  putBelow(home, {
    domid: id,
    store: '',
    'store/port': options.store.port,
    'store/ring-ref': options.store.mfn,
    console: '',
    'console/backend': backend,
  });
  put(`${home}/console/backend-id`, 0, [`n${id}`, 'r0']);
  putBelow(`${home}/console`, {
    limit: 1048576,
    type: 'xenconsoled',
    output: 'pty',
    port: options.console.port,
    'ring-ref': options.console.mfn,
  });

  put(vm, '', readOnly);
  putBelow(vm, {
    name,
    uuid,
    image: '',
    'image/ostype': 'linux',
    'image/kernel': kernel,
    'image/ramdisk': ramdisk,
    'image/cmdline': cmdline,
    start_time: startTime,
  });

  putBelow(device, { frontend: `${home}/console`, backend, ...status });
  putBelow(`/libxl/${id}`, { type: 'pv', 'dm-version': 'qemu_xen' });
}

/** The domain is gone: its nodes go, and those of its devices. */
export function removeDomainTree(store: XenStore, id: number, uuid: string): void {
  store.release(id);
  for (const path of [domainPath(id), `/vm/${uuid}`, `/libxl/${id}`]) store.rm(path);
  for (const kind of store.directory(`${domainPath(0)}/backend`) ?? []) store.rm(`${domainPath(0)}/backend/${kind}/${id}`);
}

/** A name-based UUID (libxl's is random): 128 bits of FNV-1a over the words, with the version and variant bits of RFC 4122 (version 8). */
export function uuidOf(domid: number, name: string): string {
  let hash = 0x6c62272e07bb014262b821756295c58dn;
  for (const character of `${domid}/${name}`)
    hash = BigInt.asUintN(128, (hash ^ BigInt(character.codePointAt(0)!)) * 0x1000000000000000000013bn);
  const digits = hash.toString(16).padStart(32, '0');
  const variant = (8 + (Number.parseInt(digits[16]!, 16) & 3)).toString(16);
  return [digits.slice(0, 8), digits.slice(8, 12), `8${digits.slice(13, 16)}`, variant + digits.slice(17, 20), digits.slice(20)].join('-');
}
