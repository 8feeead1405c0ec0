/** What signed texts prove about single pulls: an evidence file checked anew, from the texts alone. */
import type { Receipt } from '../receipt.ts'
import type { UsagePull } from '../usage.ts'
import { lifetimeToleranceMs } from './books.ts'
import type { Claim } from './evidence.ts'
import { type Kind, moment, pullWords, recordWords } from './findings.ts'
import type { OpenedTexts, ShownPull } from './opened.ts'
import { readFault } from './signed.ts'

export interface Checked {
  readonly isProven: boolean
  readonly why: string
  readonly unless?: string
}
export const proven = (why: string, unless?: string): Checked => ({
  isProven: true,
  why,
  ...(unless === undefined ? {} : { unless }),
})
export const unproven = (why: string): Checked => ({ isProven: false, why })

const anotherLife = 'unless the relay shows that the owner stored another record under this id'

interface Shown {
  readonly last: ShownPull
  readonly shown: readonly ShownPull[]
  readonly opened: OpenedTexts
  readonly claim: Claim
  readonly relay: string
  readonly account: string
}

/** What pages show of a pull, by itself and against its receipt. */
export function checkPulls(kind: Kind, all: Shown): Checked {
  const { last, shown, opened, relay } = all
  const { pull, read, page } = last
  const words = pullWords(pull)
  switch (kind) {
    case 'bad-signature': {
      if (pull.re === null || typeof read !== 'string') return unproven('the relay’s page shows no read')
      const fault = readFault(read, pull, relay)
      return fault === undefined ? unproven('the read is good') : proven(`${words}: ${fault}`)
    }
    case 'missing-read': {
      if (pull.re === null || typeof read === 'string') return unproven('there is a read, or none was due')
      const request = opened.requests.get(page.re)?.sealed.msg.request
      const isAsked = read === null || (request?.type === 'RequestUsage' && request.evidence === true)
      return isAsked
        ? proven(
            `${words}: the relay billed a signed read, was asked to show it, and signed that it has none`,
          )
        : unproven('nothing shows that the relay was asked for its evidence')
    }
    case 'read-twice': {
      const twin = shown.find((other) => other.pull.seq !== pull.seq && other.pull.re === pull.re)
      return pull.re === null || twin === undefined
        ? unproven('no two of these pulls have the same read')
        : proven(`${words} and pull ${twin.pull.seq} are billed for one and the same read`)
    }
    default:
      return checkReceipt(kind, all)
  }
}

function checkReceipt(kind: Kind, { last, opened, claim, account }: Shown): Checked {
  const { pull } = last
  const receipt = opened.receipt(pull.path, claim.receiptAt)
  if (receipt === undefined) return unproven('the relay’s receipt for this record is not in the file')
  const words = pullWords(pull)
  const isInside = ({ at }: UsagePull) => at >= receipt.at && at <= receipt.paidUntil + lifetimeToleranceMs
  if (kind === 'outside-lifetime') return checkLifetime(last, receipt, opened)
  if (!isInside(pull)) return unproven('the pull is not of the time of this receipt')
  if (kind === 'wrong-size')
    return pull.bytes === receipt.bytes
      ? unproven('the size is that of the receipt')
      : proven(
          `${words} is billed at ${pull.bytes} bytes, the relay’s receipt says ${receipt.bytes}`,
          anotherLife,
        )
  if (kind === 'wrong-purse')
    return receipt.charge.purse === account
      ? unproven('the purse is that of the receipt')
      : proven(
          `${words} is billed to the purse ${account}, the relay’s receipt names the purse ${receipt.charge.purse}`,
          'unless the relay shows that the owner moved the record to this purse',
        )
  // Counted in the pages: a claim names only the first of very many.
  const all = opened.pullsOf(pull.path).filter((one) => one.seq <= pull.seq && isInside(one))
  if (kind === 'above-bilateral-pulls') {
    const most = opened.bilateralPulls(receipt)
    if (most === undefined)
      return unproven('the owner’s message that this receipt answers is not in the file')
    const views = all.filter(({ re }) => re === null).length
    return pull.re === null && views > most
      ? proven(
          `${recordWords(pull.path)}: ${views} pulls through the view, its owner pays for ${most}`,
          anotherLife,
        )
      : unproven('these are no more than the record allows')
  }
  const count = all.length
  return count > receipt.maxPulls
    ? proven(
        `${recordWords(pull.path)}: ${count} pulls are billed, the relay’s receipt allows ${receipt.maxPulls}`,
        anotherLife,
      )
    : unproven('these are no more pulls than the receipt allows')
}

function checkLifetime({ pull }: ShownPull, receipt: Receipt, opened: OpenedTexts): Checked {
  const words = pullWords(pull)
  if (pull.at < receipt.at)
    return proven(`${words} is billed before the record arrived at ${moment(receipt.at)}`, anotherLife)
  const deletedAt = opened.deletedAfter(receipt.path, receipt.at) ?? Number.POSITIVE_INFINITY
  const end = Math.min(deletedAt, receipt.paidUntil)
  const what = end === deletedAt ? 'was deleted' : 'was paid for until'
  return pull.at > end + lifetimeToleranceMs
    ? proven(
        `${words}: by the relay’s own receipts the record ${what} ${moment(end)}`,
        end === deletedAt ? anotherLife : `${anotherLife}, or that a renewal has extended it`,
      )
    : unproven('the pull lies inside of the life of the record')
}
