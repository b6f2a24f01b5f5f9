/** Types of a machine frame, PGT_* of xen:arch/x86/include/asm/mm.h. A frame has one at a time, and only while its type count is above 0. */
export const PGT_none = 0;
/** The numbers of the levels between are their types, too. */
export const PGT_l1_page_table = 1;
export const PGT_l4_page_table = 4;
/** Holds descriptors of a GDT or LDT. */
export const PGT_seg_desc_page = 5;
export const PGT_writable_page = 7;

export type PageTableType = 1 | 2 | 3 | 4;
export type PageType = 0 | PageTableType | 5 | 7;
