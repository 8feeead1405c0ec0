/** What signed texts prove that is not in one pull: histories that contradict each other, wrong sums, failed proofs. */
import { MarketError } from '../../market/errors.ts'
import { floorSatoshi } from '../../market/price.ts'
import { contradict, disorder, impossible, lastOf } from './chain.ts'
import { type Checked, proven, unproven } from './check-pulls.ts'
import type { Claim } from './evidence.ts'
import { recordWords } from './findings.ts'
import type { OpenedTexts } from './opened.ts'
import { checkProof } from './proof.ts'
import { quantityUnits, usedIn } from './totals.ts'

const anotherPrice =
  'unless the relay shows a receipt of this purse at other prices, or that reads were bought with it'

export function checkChain({ texts = [] }: Claim, opened: OpenedTexts): Checked {
  const pages = opened.pages.filter(({ name }) => texts.includes(name))
  for (const { report } of pages) {
    const fault = disorder(report)
    if (fault !== undefined) return proven(fault)
    if (impossible(report))
      return proven('the first pages of this purse do not lead to the chain that the relay signed')
  }
  for (const a of pages)
    for (const b of pages) {
      if (a === b) continue
      const restored = 'unless the relay was restored from an old copy, and says so'
      if (contradict(a.report, b.report))
        return proven(
          `two reports that the relay signed, up to the pulls ${lastOf(a.report)} and ${lastOf(b.report)}, cannot both be true`,
          restored,
        )
      const request = opened.requests.get(b.re)?.sealed.msg.request
      const isAll = request?.type === 'RequestUsage' && request.beforeTs === undefined && !b.more
      if (isAll && b.report.at >= a.report.at && lastOf(b.report) < lastOf(a.report))
        return proven(
          `the relay signed for ${lastOf(a.report)} pulls, and later that there are ${lastOf(b.report)}`,
          restored,
        )
    }
  return unproven('these pages do not contradict each other')
}

export function checkPrice(
  { path, receiptAt, texts = [] }: Claim,
  opened: OpenedTexts,
  account: string,
): Checked {
  const receipt = path === undefined ? undefined : opened.receipt(path, receiptAt)
  if (receipt === undefined || receipt.charge.purse !== account)
    return unproven('no receipt of this purse shows its prices')
  for (const { report } of opened.pages.filter(({ name }) => texts.includes(name))) {
    const most = floorSatoshi(quantityUnits(usedIn(report), receipt.charge.prices))
    if (BigInt(report.owed) > BigInt(most))
      return proven(
        `the relay claims ${report.owed} satoshi for what comes to ${most} at the prices of its receipt`,
        anotherPrice,
      )
  }
  return unproven('what is owed is what was used at the prices of the receipt')
}

export function checkFailedProof(
  { path = '', receiptAt, texts = [] }: Claim,
  opened: OpenedTexts,
  of: { relay: string; owner: string },
): Checked {
  const receipt = opened.receipt(path, receiptAt)
  if (receipt === undefined) return unproven('the relay’s receipt for this record is not in the file')
  const deletedAt = opened.deletedAfter(receipt.path, receipt.at)
  for (const [hash, { text: request }] of opened.requests) {
    const reply = opened.replies.get(hash)
    if (reply === undefined || !texts.includes(hash)) continue
    try {
      const found = checkProof({ request, reply }, receipt, { ...of, deletedAt })
      if (found.outcome !== 'failed') continue
      const unless = 'unless the relay shows the owner’s signed delete of this record'
      return proven(`${recordWords(path)}: ${found.sentence}`, unless)
    } catch (error) {
      if (!(error instanceof MarketError)) throw error
    }
  }
  return unproven('no answer in the file is a failed proof')
}
