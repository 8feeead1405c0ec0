/** What a contract pays for, and stops paying for when it ends. */
import { entries, receiptOf } from '../home/outbox.ts'
import { keptContract, type KeptContract, termsOf } from '../home/contracts.ts'
import type { Site } from './site.ts'

export interface Leaving {
  /** Of this home, that were not deleted and have not expired. */
  readonly records: number
  /** What they may still come to, as the relay says, or said last. */
  readonly satoshis: number
}

/** Contracts that went over one into the next; a longer line is cut. */
const mostBefore = 100

export async function leavingWith(site: Pick<Site, 'ctx' | 'peer'>, kept: KeptContract): Promise<Leaving> {
  const { home, now } = site.ctx
  const { server } = termsOf(kept)
  const purses = await purseLine(site, kept)
  let records = 0
  for (const entry of (await entries(home)).values()) {
    const { id, expires, accepted, deleted, gone } = entry
    if (expires <= now() || deleted || gone.has(server) || !accepted.has(server)) continue
    const receipt = await receiptOf(home, { id, relay: server }).catch(() => undefined) // an audit says what is damaged
    if (receipt !== undefined && purses.has(receipt.charge.purse)) records += 1
  }
  const said = await site
    .peer(kept)
    .ask({ type: 'ContractState', contract: kept.id })
    .catch(() => kept.heard)
  return { records, satoshis: said?.reserved ?? 0 }
}

/** Records stay in the purse that they were written to, and the next contract pays. */
async function purseLine({ ctx }: Pick<Site, 'ctx'>, kept: KeptContract): Promise<ReadonlySet<string>> {
  const line = new Set<string>([kept.id])
  for (let before = kept.renews; before !== null && line.size < mostBefore; ) {
    line.add(before.id)
    before = (await keptContract(ctx.home, before.id))?.renews ?? null
  }
  return line
}
