/**
 * The audit of our relays (docs/protocol.md §4.10): what they say is owed, held against our own books, the reads that
 * receivers signed and the acks they sent us. Nothing forged is settled: the next audit finds it again.
 */
import { randomInt } from 'node:crypto'
import type { Books, FailedProof } from '../../contracts/audit/books.ts'
import { isIn } from '../../contracts/audit/life.ts'
import { type Finding, Findings } from '../../contracts/audit/findings.ts'
import { settle } from '../../contracts/audit/settle.ts'
import { type Audit, audit } from '../../contracts/audit/verdict.ts'
import type { Receipt } from '../../contracts/receipt.ts'
import { formatAddress, type RelayAddress } from '../../market/address.ts'
import type { Context } from '../context.ts'
import { type SavedAudit, saveAudit, savedAudit, savePassed } from '../home/audits.ts'
import { entries, receiptOf } from '../home/outbox.ts'
import { relaysNamed } from '../people/relays.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { accounts } from './account.ts'
import { type Beside, besideExplains, besideSince, nothingBeside } from './audit-beside.ts'
import { booksOf } from './audit-books.ts'
import { evidenceOf } from './audit-evidence.ts'
import { fetchExtensions, knownExtensions, mayBeRenewed } from './audit-extensions.ts'
import { challenge } from './audit-proofs.ts'
import { aheadMs } from './audit-pages.ts'
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
      /** Those among them that are of no purse here: what was stored free of charge, say. */
      readonly unbilled?: { readonly findings: readonly Finding[]; readonly evidence: string }
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
      all.push(await ctx.home.lock(`audit-${relay.key}`, work, { signal: options.signal }))
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
  const [named] = await accounts(ctx, formatAddress(address), { signal, entries: 1 })
  const account = named! // of the one that is named
  if ('error' in account) throw account.error
  const isRenewed = mayBeRenewed(account.purses)
  const receipts = await provable(ctx, connection)
  const proofs = await challenge(ctx, connection, { receipts, count, signal })
  const saved = new Map<string, SavedAudit>()
  const spools = new Map<string, Spool>()
  try {
    for (const { purse } of account.purses) {
      const before = await savedAudit(ctx.home, address.key, purse)
      if (before !== undefined) saved.set(purse, before)
      const from = { cursor: before?.cursor, since: before?.standing.at }
      spools.set(purse, await fetchPages(ctx, connection, { purse, ...from, signal }))
    }
    // After the reports: what they cannot have yet is no harm, but what they have must be here.
    const extended = isRenewed ? await fetchExtensions(ctx.home, connection, { signal }) : undefined
    const extensions = await knownExtensions(ctx.home, address.key)
    const whose = { relay: address.key, owner: ctx.wallet.identity }
    const offsetMs = connection.clock.now - ctx.now()
    const known = { isWhole: !isShared, saved, extensions }
    const { books, passed } = await booksOf(ctx, { ...whose, ...known, offsetMs })
    const purses: PurseAudit[] = []
    for (const [purse, spool] of spools) {
      const since = saved.get(purse)
      const order = { books, purse, spool, since, connection }
      const { found, beside } = await auditPurse(order, signal)
      const isForged = found.verdict === 'forged'
      if (!isForged) await saveAudit(ctx.home, address.key, keptFrom(order, found, beside))
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
    await savePassed(ctx.home, address.key, { ...passed, extended })
    const found = { relay: address, purses, proofs, failedProofs: books.failedProofs }
    const findings = unbilledLoss(books, [...spools.keys()])
    if (findings.length === 0) return found
    const audit = { purse: '', findings }
    return {
      ...found,
      unbilled: { findings, evidence: await evidenceOf(ctx, connection, { ...whose, audit }) },
    }
  } finally {
    for (const spool of spools.values()) await spool.remove()
  }
}

/** Of the proofs that failed, those that no audit of these purses tells of. */
function unbilledLoss(books: Books, purses: readonly string[]): readonly Finding[] {
  const findings = new Findings()
  for (const failed of books.failedProofs) {
    const life = books.life(failed)
    if (life === undefined || !purses.some((purse) => isIn(life, purse))) findings.addLoss(failed)
  }
  return findings.kept
}

/** The receipts of what the relay must hold. */
export async function provable(
  ctx: Context,
  { address: { key: relay }, clock }: Connection,
): Promise<Receipt[]> {
  const receipts: Receipt[] = []
  const extensions = await knownExtensions(ctx.home, relay)
  for (const { id, accepted, deleted, gone } of (await entries(ctx.home)).values()) {
    if (deleted || gone.has(relay) || !accepted.has(relay)) continue
    const signed = await receiptOf(ctx.home, { id, relay }).catch(() => undefined) // damaged: nothing to prove
    const receipt = signed && extensions.applied(signed)
    if (receipt !== undefined && receipt.paidUntil > clock.now + auditLimits.proofMarginMs)
      receipts.push(receipt)
  }
  return receipts
}

interface Order {
  readonly books: Books
  readonly purse: string
  readonly spool: Spool
  readonly since: SavedAudit | undefined
  readonly connection: Connection
}

async function auditPurse(
  { books, purse, spool, since, connection }: Order,
  signal: AbortSignal | undefined,
): Promise<{ found: Audit; beside: Beside }> {
  const isAll = spool.pulls <= auditLimits.reads
  const sample = () => isAll || randomInt(spool.pulls) < auditLimits.reads
  const latest = connection.clock.now + aheadMs
  const order = { books, purse, pages: spool.pages, sample, latest, ...(since && { since: since.standing }) }
  const before: Beside = since ?? nothingBeside
  const later = () => besideSince(connection, { purse, before }, signal)
  // What was reserved for messages in boxes is released in time, and then excuses nothing else.
  const known = before.boxed > 0 ? await later() : before
  const found = await audit({ ...order, ...known })
  // What no report names may explain what pulls do not; the entries are asked for only where something is to be explained.
  const isOpen =
    found.unproven.unpriced > 0 || found.findings.some(({ kind }) => besideExplains.includes(kind))
  if (!isOpen || known !== before) return { found, beside: known }
  const beside = await later()
  const isNews = beside.bought > before.bought || beside.boxed > before.boxed
  return { found: isNews ? await audit({ ...order, ...beside }) : found, beside }
}

/** What the next audit begins with. */
function keptFrom({ books, purse, spool, since }: Order, found: Audit, beside: Beside): SavedAudit {
  const { bought, boxed, boughtAt } = beside
  const { standing, over, seen } = settle(books, found, since?.standing)
  const { verdict, claimed, supported, toPay } = found
  return {
    purse,
    cursor: spool.cursor,
    standing,
    seen: [...seen].map(([{ path, at }, pulls]) => [path, at, [...pulls]]),
    foldedEnd: over.reduce((latest, { end }) => Math.max(latest, end), since?.foldedEnd ?? 0),
    ...{ bought, boxed, boughtAt },
    verdict: verdict === 'unproven' ? 'unproven' : 'explained',
    claimed,
    supported,
    toPay,
  }
}
