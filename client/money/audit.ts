/**
 * The audit of our relays (docs/protocol.md §4.10): what they say is owed, held against our own books, the reads that
 * receivers signed and the acks they sent us. Nothing forged is settled: the next audit finds it again.
 */
import { randomInt } from 'node:crypto'
import type { FailedProof, Standing } from '../../contracts/audit/books.ts'
import { settle } from '../../contracts/audit/settle.ts'
import { type Audit, audit } from '../../contracts/audit/verdict.ts'
import type { Receipt } from '../../contracts/receipt.ts'
import { formatAddress, type RelayAddress } from '../../market/address.ts'
import type { Context } from '../context.ts'
import { type SavedAudit, saveAudit, savedAudit, savePassed } from '../home/audits.ts'
import { entries, receiptOf } from '../home/outbox.ts'
import { relaysNamed } from '../people/relays.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { accounts, ledger } from './account.ts'
import { booksOf } from './audit-books.ts'
import { evidenceOf } from './audit-evidence.ts'
import { challenge } from './audit-proofs.ts'
import { fetchPages, type Spool } from './audit-spool.ts'

export const auditLimits = {
  /** Storage challenges to each relay unless the user says how many. */
  proofs: 3,
  mostProofs: 1000,
  /** Signed reads verified in each purse; all of them once one is bad. */
  reads: 5000,
  /** What ends so soon is not worth a challenge: its proof may come too late. */
  proofMarginMs: 60_000,
} as const

export interface AuditOptions extends CallOptions {
  /** Live records of each relay that it must prove to hold. */
  readonly prove?: number | undefined
  /** Others write with this key too: what is not in this home's books accuses nobody. */
  readonly isShared?: boolean | undefined
  /** Evidence also where nothing is forged. */
  readonly evidence?: boolean | undefined
  /** Evidence without the read times of pulls that are not disputed. */
  readonly isRestricted?: boolean | undefined
}

/** One purse; `evidence` is the text of a file that convinces others, with what it cannot show them. */
export interface PurseAudit extends Omit<Audit, 'rest'> {
  readonly evidence?: string
}

/** What became of one relay, or why nothing did. */
export type AuditedAt =
  | {
      readonly relay: RelayAddress
      readonly purses: readonly PurseAudit[]
      /** Challenges it answered, and all that ever failed. */
      readonly proofs: number
      readonly failedProofs: readonly FailedProof[]
    }
  | { readonly relay: RelayAddress; readonly error: Error }

/** Audits the own relays, or the one that is named, one after another. What fails stands in a relay's place. */
export async function auditRelays(
  ctx: Context,
  reference: string | undefined,
  options: AuditOptions,
): Promise<AuditedAt[]> {
  const all: AuditedAt[] = []
  for (const relay of await relaysNamed(ctx, reference, options.signal)) {
    try {
      const work = () => auditRelay(ctx, ctx.connect(relay), options)
      all.push(
        await ctx.home.lock(`audit-${relay.key}`, work, {
          ...(options.signal && { signal: options.signal }),
        }),
      )
    } catch (error) {
      options.signal?.throwIfAborted()
      all.push({ relay, error: error as Error })
    }
  }
  return all
}

async function auditRelay(ctx: Context, connection: Connection, options: AuditOptions): Promise<AuditedAt> {
  const { address } = connection
  const { prove: count = auditLimits.proofs, isShared = false, signal } = options
  const [account] = await accounts(ctx, formatAddress(address), { signal, entries: 1 })
  if (account === undefined || 'error' in account)
    throw account?.error ?? new Error('no account was asked for')
  const proofs = await challenge(ctx, connection, {
    receipts: await provable(ctx, connection),
    count,
    signal,
  })
  const saved = new Map<string, SavedAudit>()
  const spools = new Map<string, Spool>()
  try {
    for (const { purse } of account.purses) {
      const before = await savedAudit(ctx.home, address.key, purse)
      if (before !== undefined) saved.set(purse, before)
      spools.set(purse, await fetchPages(ctx, connection, { purse, cursor: before?.cursor, signal }))
    }
    // After the reports: what they cannot have yet is no harm, but what they have must be here.
    const whose = { relay: address.key, owner: ctx.wallet.identity }
    const offsetMs = connection.clock.now - ctx.now()
    const { books, passed } = await booksOf(ctx, { ...whose, offsetMs, isWhole: !isShared, saved })
    const purses: PurseAudit[] = []
    for (const [purse, spool] of spools) {
      const since = saved.get(purse)
      const order = { books, purse, spool, since, connection }
      const { bought, ...found } = await auditPurse(order, signal)
      const isForged = found.verdict === 'forged'
      if (!isForged) await saveAudit(ctx.home, address.key, keptFrom(order, { ...found, bought }))
      const { rest: _, ...told } = found
      const evidence =
        isForged || options.evidence
          ? await evidenceOf(ctx, connection, {
              ...whose,
              audit: told,
              spool,
              isRestricted: options.isRestricted,
              signal,
            })
          : undefined
      purses.push({ ...told, ...(evidence !== undefined && { evidence }) })
    }
    await savePassed(ctx.home, address.key, passed)
    return { relay: address, purses, proofs, failedProofs: books.failedProofs }
  } finally {
    for (const spool of spools.values()) await spool.remove()
  }
}

/** The receipts of what the relay must hold. */
async function provable(ctx: Context, { address: { key: relay }, clock }: Connection): Promise<Receipt[]> {
  const receipts: Receipt[] = []
  for (const { id, accepted, deleted } of (await entries(ctx.home)).values()) {
    if (deleted || !accepted.has(relay)) continue
    const receipt = await receiptOf(ctx.home, { id, relay }).catch(() => undefined) // damaged: nothing to prove
    if (receipt !== undefined && receipt.paidUntil > clock.now + auditLimits.proofMarginMs)
      receipts.push(receipt)
  }
  return receipts
}

interface Order {
  readonly books: Awaited<ReturnType<typeof booksOf>>['books']
  readonly purse: string
  readonly spool: Spool
  readonly since: SavedAudit | undefined
  readonly connection: Connection
}

type Found = Audit & { readonly bought: number }

async function auditPurse(
  { books, purse, spool, since, connection }: Order,
  signal: AbortSignal | undefined,
): Promise<Found> {
  const isAll = spool.pulls <= auditLimits.reads
  const sample = () => isAll || randomInt(spool.pulls) < auditLimits.reads
  const run = (bought: number) =>
    audit({ books, purse, pages: spool.pages, sample, bought, ...(since && { since: since.standing }) })
  const before = since?.bought ?? 0
  const found = await run(before)
  // Reads bought with this purse explain what pulls do not; the entries are asked for only where something is to be explained.
  if (!found.findings.some(({ kind }) => boughtExplains.includes(kind))) return { ...found, bought: before }
  const bought = before + (await boughtSince(connection, { purse, at: since?.standing.at ?? 0 }, signal))
  return { ...(bought === before ? found : await run(bought)), bought }
}

const boughtExplains = ['wrong-price', 'wrong-egress']

async function boughtSince(
  connection: Connection,
  { purse, at }: { purse: string; at: number },
  signal: AbortSignal | undefined,
): Promise<number> {
  let bought = 0
  for await (const entry of ledger(connection, { signal })) {
    if (entry.at < at) break
    if (entry.what === 'bought' && entry.purse === purse) bought += Number(entry.earned)
  }
  return bought
}

/** What the next audit begins with. */
function keptFrom({ books, purse, spool, since }: Order, found: Found): SavedAudit {
  const before: Standing | undefined = since?.standing
  const { standing, over, seen } = settle(books, found, before)
  const { verdict, claimed, supported, toPay, bought } = found
  return {
    purse,
    cursor: spool.cursor,
    standing,
    seen: [...seen].map(([{ path, at }, pulls]) => [path, at, [...pulls]]),
    foldedEnd: over.reduce((latest, { end }) => Math.max(latest, end), since?.foldedEnd ?? 0),
    bought,
    verdict: verdict === 'unproven' ? 'unproven' : 'explained',
    ...{ claimed, supported, toPay },
  }
}
