/** xen:public/io/netif.h and ring.h: a virtual network interface's two rings. */
import { grant_ref_t } from './grant_table.ts';
import { sring } from './ring.ts';
import { pad, struct } from './struct.ts';
import { flags, i16, symbols, u8, u16 } from './types.ts';

export const NETTXF_csum_blank = 1;
export const NETTXF_data_validated = 2;
export const NETTXF_more_data = 4;
export const NETTXF_extra_info = 8;

export const NETRXF_data_validated = 1;
export const NETRXF_csum_blank = 2;

export const XEN_NETIF_EXTRA_TYPE_GSO = 1;
export const XEN_NETIF_EXTRA_TYPE_MCAST_ADD = 2;
export const XEN_NETIF_EXTRA_TYPE_MCAST_DEL = 3;
export const XEN_NETIF_EXTRA_TYPE_HASH = 4;
export const XEN_NETIF_EXTRA_TYPE_MAX = 5;
export const XEN_NETIF_EXTRA_FLAG_MORE = 1;

export const XEN_NETIF_GSO_TYPE_TCPV4 = 1;
export const XEN_NETIF_GSO_TYPE_TCPV6 = 2;

export const NETIF_RSP_ERROR = -1;
export const NETIF_RSP_OKAY = 0;
/** Of a slot that is no request of its own. */
export const NETIF_RSP_NULL = 1;

const status_t = symbols('int16_t', i16, { NETIF_RSP_ERROR, NETIF_RSP_OKAY, NETIF_RSP_NULL });
const extra_type_t = symbols('uint8_t', u8, {
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
  XEN_NETIF_EXTRA_TYPE_MCAST_DEL,
  XEN_NETIF_EXTRA_TYPE_HASH,
});
const tx_flags_t = flags('uint16_t', u16, { NETTXF_csum_blank, NETTXF_data_validated, NETTXF_more_data, NETTXF_extra_info });
const rx_flags_t = flags('uint16_t', u16, { NETRXF_data_validated, NETRXF_csum_blank });

export const netif_tx_request = struct('netif_tx_request', { gref: grant_ref_t, offset: u16, flags: tx_flags_t, id: u16, size: u16 });
export const netif_tx_response = struct('netif_tx_response', { id: u16, status: status_t });
export const netif_rx_request = struct('netif_rx_request', { id: u16, pad: pad(2), gref: grant_ref_t });
/** `status` is a length, or negative. */
export const netif_rx_response = struct('netif_rx_response', { id: u16, offset: u16, flags: rx_flags_t, status: i16 });

/** In the place of a request, behind the first one of a frame. */
export const netif_extra_info = struct('netif_extra_info', { type: extra_type_t, flags: u8, u: pad(6, 2) });
export const netif_extra_info_gso = struct('netif_extra_info.gso', { head: pad(2), size: u16, type: u8, pad: pad(1), features: u16 });

export const netif_tx_sring = sring('netif_tx_sring', netif_tx_request);
export const netif_rx_sring = sring('netif_rx_sring', netif_rx_request);
