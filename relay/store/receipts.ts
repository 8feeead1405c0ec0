/** What a relay signs for a record that it took, and for one that it deleted. */
import type { DeleteReceipt, Receipt } from '../../contracts/receipt.ts'
import { formatPath, type RecordPath } from '../../market/record.ts'
import { timeOf } from './place.ts'
import type { RecordHead } from './rows.ts'

type Id = Pick<RecordPath, 'owner' | 'recordId'>

export function receiptOf(id: Id, head: RecordHead): Receipt {
  const { place, receiver, root, bytes, expires, paidUntil, maxPulls, reserved, purse } = head
  const { storageGBDay, egressGB, ingressGB } = head
  const charge = { prices: { egressGB, ingressGB, storageGBDay }, purse, reserved }
  return {
    at: timeOf(place),
    bytes,
    charge,
    expires,
    maxPulls,
    paidUntil,
    path: formatPath({ ...id, receiver }),
    root,
  }
}

export const deleteReceiptOf = (
  id: Id,
  { receiver, place }: { receiver: string; place: number },
): DeleteReceipt => ({
  path: formatPath({ ...id, receiver }),
  at: timeOf(place),
})
