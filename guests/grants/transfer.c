/* GNTTABOP_transfer: a page given away for good, here to ourselves. */
#include "grants.h"

static unsigned char gift[12][PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned int given;

/* The next page that can be given: mapped nowhere. */
static uint64_t next(void)
{
    empty(gift[given]);
    return mfn_of(gift[given++]);
}

static void told(const char *what, uint64_t mfn, domid_t domid, grant_ref_t ref)
{
    struct gnttab_transfer arg = { .mfn = mfn, .domid = domid, .ref = ref, .status = 99 };
    domid_t me = DOMID_SELF;
    long before = memory_op(XENMEM_current_reservation, &me);
    long answer = grant_table_op(GNTTABOP_transfer, &arg, 1);

    tell(what, answer, arg.status);
    print("  %ld pages, entry %x\n", memory_op(XENMEM_current_reservation, &me) - before, ref < 2048 ? v1[ref].flags : 0);
}

/* Puts a frame at the address of a page that is gone: is it ours? */
static void ours(uint64_t mfn)
{
    result("  mapped", update_va_mapping(window[0], mfn * PAGE_SIZE | PTE_DATA, UVMF_INVLPG));
    update_va_mapping(window[0], 0, UVMF_INVLPG);
}

void transferring(void)
{
    struct gnttab_transfer *ops = (struct gnttab_transfer *)batch;
    uint64_t mfn;

    section("transfer");
    grant(20, GTF_accept_transfer, self, 0x1234);
    told("a page that is mapped", mfn_of(data[0]), self, 20);
    told("a page table", mfn_of(entry_of(data[0], 1)), self, 20);
    told("no frame", NO_FRAME, self, 20);
    told("frame 0", 0, self, 20);
    told("frame 2^64 - 1", ~0UL, self, 20);
    told("shared_info", start_info->shared_info / PAGE_SIZE, self, 20);
    mfn = next();
    told("to no domain", mfn, 999, 20);
    ours(mfn);
    told("again", mfn, self, 20);
    mfn = next();
    told("to DOMID_SELF", mfn, DOMID_SELF, 20);
    ours(mfn);
    mfn = next();
    told("to a reference beyond the table", mfn, self, 2048);
    ours(mfn);
    mfn = next();
    told("to an invalid entry", mfn, self, 21);
    ours(mfn);
    grant(21, GTF_permit_access, self, 0x1234);
    told("to a grant", next(), self, 21);
    grant(21, GTF_accept_transfer | GTF_readonly, self, 0x1234);
    told("to an entry that is committed", next(), self, 21);
    grant(21, GTF_accept_transfer, self + 1, 0x1234);
    told("to an entry for another domain", next(), self, 21);
    mfn = next();
    told("right", mfn, self, 20);
    claim("  the entry has the frame", v1[20].frame == mfn && v1[20].domid == self);
    claim("  its pseudo-physical number is what the entry had", machine_to_physical[mfn] == 0x1234);
    ours(mfn);
    told("again", mfn, self, 20);
    mfn = next();
    grant(20, GTF_accept_transfer, self, 0x1235);
    told_map("the entry of a transfer mapped", 20, GNTMAP_host_map, window[0]);
    ops[0] = (struct gnttab_transfer){ .mfn = mfn, .domid = self, .ref = 20 };
    ops[1] = (struct gnttab_transfer){ .mfn = NO_FRAME, .domid = self, .ref = 20 };
    result("two", grant_table_op(GNTTABOP_transfer, ops, 2));
    print("  status %d %d\n", ops[0].status, ops[1].status);
}
