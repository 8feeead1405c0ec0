/** Whether a relay's answer to `prove` shows that it still holds what its receipt says (docs/protocol.md §4.6). */
import { fromBase64, fromHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { leafCount, verifyMerklePath } from '../../market/merkle.ts'
import type { Hash, Key } from '../../market/units.ts'
import { Proof, Refusal } from '../api.ts'
import type { Receipt } from '../receipt.ts'
import { lifetimeToleranceMs } from './books.ts'
import { moment } from './findings.ts'
import { answersIn, requestIn } from './signed.ts'

/** `held`: shown. `failed`: signed, and wrong. `silent`: the answer says nothing either way. */
export type Proven =
  | { readonly outcome: 'held' | 'silent'; readonly at: number }
  | { readonly outcome: 'failed'; readonly at: number; readonly sentence: string }

/**
 * Judges the signed answer to our own signed `prove`.
 * @param deletedAt when the owner deleted the record, or asked for it: then no proof is owed
 * @throws ERR_MALFORMED, ERR_BAD_SIGNATURE, ERR_WRONG_RELAY when the texts are not what they should be, which accuses nobody
 */
export function checkProof(
  texts: { readonly request: string; readonly reply: string },
  receipt: Receipt,
  of: { relay: Key; owner: Key; deletedAt?: number | undefined },
): Proven {
  const asked = requestIn(texts.request, of)
  const { request } = asked.msg
  if (request.type !== 'prove' || request.path !== receipt.path)
    throw new MarketError('ERR_MALFORMED', 'this asks for no proof of this record')
  const answer = answersIn(texts.reply, of).find(({ re }) => re === asked.hash)
  if (answer === undefined) throw new MarketError('ERR_MALFORMED', 'this answers another request')
  const { body, timestamp: at } = answer
  const end = Math.min(receipt.paidUntil, of.deletedAt ?? receipt.paidUntil)
  const isOwed = at >= receipt.at && at <= end - lifetimeToleranceMs
  if (!isOwed || request.index >= leafCount(receipt.bytes)) return { outcome: 'silent', at }
  const refusal = Refusal.safeParse(body)
  if (refusal.success) {
    if (refusal.data.code !== 'ERR_NOT_FOUND') return { outcome: 'silent', at }
    const sentence = `asked for a proof at ${moment(at)}, the relay says there is no such record, which it took until ${moment(end)}`
    return { outcome: 'failed', at, sentence }
  }
  const proof = Proof.safeParse(body.result)
  if (proof.success && isGood(proof.data, request.index, receipt)) return { outcome: 'held', at }
  const sentence = `the proof of part ${request.index} that the relay signed at ${moment(at)} does not lead to the root of its own receipt`
  return { outcome: 'failed', at, sentence }
}

function isGood(proof: Proof, index: number, { root, bytes }: { root: Hash; bytes: number }): boolean {
  if (proof.index !== index || proof.size !== bytes) return false
  try {
    const leaf = fromBase64(proof.data)
    return verifyMerklePath(fromHex(root), { leaf, index, bytes, path: proof.path.map(fromHex) })
  } catch {
    return false // data that is not base64 proves nothing
  }
}
