/**
 * A network interface as xl.cfg's `vif` writes it: `mac=00:16:3e:01:02:03,bridge=xenbr0`, each with a default. Of xl's words
 * these two are known. `loop` is a network of the interface alone, and `pcap=FILE` where all that passes is recorded.
 */
import { LOOP } from '../../hypercalls/net/network.ts';

export interface NetDescription {
  /** undefined: one that is made of the domain's name. */
  readonly mac: string | undefined;
  readonly bridge: string;
  readonly pcap: string | undefined;
}

const DEFAULT_BRIDGE = 'xenbr0';
/** Words of xl's that would mean something here, if there were something behind them. */
const OF_XL = ['accel', 'backend', 'devid', 'gatewaydev', 'ip', 'model', 'mtu', 'rate', 'script', 'trusted', 'type', 'vifname'];

/** The interface, or what is wrong with the text. */
export function parseNet(text: string): NetDescription | string {
  let mac: string | undefined;
  let bridge = DEFAULT_BRIDGE;
  let pcap: string | undefined;
  for (const word of text.split(',').map((word) => word.trim())) {
    const [key = '', ...rest] = word.split('=');
    const value = rest.join('=');
    if (word === LOOP) bridge = LOOP;
    else if (key === 'mac') {
      mac = value.toLowerCase();
      if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac)) return `'${value}' is no MAC address such as 00:16:3e:01:02:03.`;
      if (Number.parseInt(mac.slice(0, 2), 16) & 1) return `'${value}' is the address of a group; its first byte must be even.`;
    } else if (key === 'bridge') {
      bridge = value;
      if (!/^[\w.-]{1,15}$/.test(bridge)) return `'${value}' is no name of a bridge; give up to 15 letters, digits and . _ -.`;
    } else if (key === 'pcap') {
      pcap = value;
      if (pcap === '') return 'Name a file behind pcap=.';
    } else if (OF_XL.includes(key)) return `'${key}' is not supported; there are mac=, bridge=, loop and pcap=.`;
    else if (word !== '') return `'${word}' is none of mac=00:16:3e:01:02:03, bridge=xenbr0, loop, pcap=FILE.`;
  }
  return { mac, bridge, pcap };
}

/** One that has its address. */
export type PluggedNet = NetDescription & { readonly mac: string };

/** An address that nobody gave is in Xen's range, and the same in every life of the domain (xl's is random). */
export function withMac(net: NetDescription, domainName: string, index: number): PluggedNet {
  let hash = 0x811c9dc5;
  for (const character of `${domainName}/${index}`) hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193) >>> 0;
  const bytes = [0x00, 0x16, 0x3e, (hash >>> 16) & 0x7f, (hash >>> 8) & 0xff, hash & 0xff];
  return { ...net, mac: net.mac ?? bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':') };
}
