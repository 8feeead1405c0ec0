/**
 * A wallet from its key alone, or from its key and a backup. The key alone finds what was paid to counted keys, block by
 * block from a birthday on; everything else is in the backup, or lost. `RecoveryReport.notFound` says so.
 */
import { setImmediate } from 'node:timers/promises'
import { MarketError } from '../../../market/errors.ts'
import type { Chain, Place } from '../../chain/chain.ts'
import { readHeader } from '../../transaction/block.ts'
import { Reader } from '../../transaction/transaction.ts'
import type { Backup } from './backup.ts'
import type { CoinStore } from '../coins/store.ts'
import { syncLimits, type SyncReport, WalletSync } from '../sync/sync.ts'
import type { SyncParts } from '../sync/parts.ts'
import { watchedAhead, watchLimits } from '../sync/watched-keys.ts'

/** When the wallet was used first: a height, or unix seconds. What was paid before is not found. */
export type Birthday = { readonly height: number } | { readonly time: number }

export interface RecoverOptions extends SyncParts {
  /** The one that follows this store already, if there is one: two would not know of each other's places. */
  readonly sync?: WalletSync
  /** Not needed with a backup, which knows how far the wallet had read. */
  readonly birthday?: Birthday
  /** As `readBackup` gave it. */
  readonly backup?: Backup
  readonly signal: AbortSignal
  readonly onProgress?: (progress: RecoveryProgress) => void
}

export interface RecoveryProgress {
  /** The last block that was read, and the last there is. */
  readonly height: number
  readonly tip: number
  /** Found in this run. */
  readonly coins: number
  readonly satoshis: number
}

export interface RecoveryReport {
  /** Unspent coins there are now, and what they are worth together. */
  readonly found: number
  readonly satoshis: number
  /** Heights of the first and the last block that were read. */
  readonly from: number
  readonly to: number
  /** A key behind so many unused ones was not looked for. */
  readonly gap: number
  /** What this recovery could not bring back, in sentences; empty with a backup. */
  readonly notFound: readonly string[]
}

/** A block's time may be so far from the time at which it was seen, and so far from those of its neighbours. */
const timeToleranceSeconds = 3 * 3600
/** Of rows that are restored between two moments in which others are served. */
const restoredAtOnce = 1000

/**
 * Resolves when the coins agree with the chain. After a crash, an abort or a network that was away, the same call goes on
 * where it stopped; so does every `WalletSync.pass` over that store.
 * @throws ERR_CONFLICT for a backup when the store is not empty: nothing is merged; ERR_CHAIN_UNAVAILABLE, also without
 * backup where blocks cannot be read; ERR_BUSY when `signal` was aborted
 */
export async function recover(options: RecoverOptions): Promise<RecoveryReport> {
  const { store, chain, backup, signal, onProgress, sync = new WalletSync(options) } = options
  if (!chain.canScan && backup === undefined)
    throw new MarketError(
      'ERR_CHAIN_UNAVAILABLE',
      `${chain.name} does not show its blocks: a key alone is recovered from a node`,
    )
  const under = store.recovery()
  if (under === undefined) await sync.restart(() => begin(options))
  else if (backup !== undefined && backup.header.sequence !== under.sequence)
    throw new MarketError('ERR_CONFLICT', 'a recovery with another backup, or without one, is under way')
  const from = store.recovery()?.from ?? 0
  let [coins, satoshis] = [0, 0]
  for (let report: SyncReport | undefined; report?.isCurrent !== true; ) {
    if (signal.aborted)
      throw new MarketError('ERR_BUSY', 'the recovery was interrupted; it goes on where it stopped')
    report = await sync.pass()
    if (report.unavailable !== undefined) throw report.unavailable
    coins += report.found
    satoshis += report.satoshis
    const tip = report.tip?.height ?? 0
    onProgress?.({ height: report.scanned?.height ?? tip, tip, coins, satoshis })
  }
  if (!chain.canScan) await store.change((batch) => batch.putRecovery(undefined))
  return {
    ...(await worthOf(store)),
    ...{ from, to: store.place()?.height ?? from, gap: watchLimits.gap },
    notFound: backup === undefined ? onlyInBackup : [],
  }
}

const onlyInBackup = [
  'payments from identities (BRC-29), whose keys follow from what the sender sent beside them',
  'outputs in baskets: their scripts, the instructions to spend them, the terms of contracts',
  'coins on keys behind a gap of more unused keys than were looked for, and those of before the birthday',
  'transactions that were not sent yet, descriptions, labels and tags',
] as const

async function begin(options: RecoverOptions): Promise<void> {
  const { store, chain, backup } = options
  const isEmpty = store.counter('action') === 0 && store.counter('coin') === 0 && store.place() === undefined
  if (backup !== undefined && !isEmpty)
    throw new MarketError('ERR_CONFLICT', 'a backup is restored into an empty store only: nothing is merged')
  const { from, place } = await startOf(options)
  await store.change(async (batch) => {
    for (const [index, row] of (backup?.rows ?? []).entries()) {
      if (index % restoredAtOnce === 0) await setImmediate()
      batch.putRow(row)
    }
    const watched = backup?.header.recovery?.watched ?? watchedAhead(batch, options)
    const sequence = backup?.header.sequence
    batch.putRecovery({ from, watched, ...(sequence !== undefined && { sequence }) })
    if (place !== undefined && chain.canScan) batch.putPlace(place)
  })
}

/** The height of the first block to read, and the place below it unless the backup has gone further. */
async function startOf({
  chain,
  birthday,
  backup,
}: RecoverOptions): Promise<{ from: number; place?: Place }> {
  const scanned = backup?.rows.find((row) => row.kind === 'place')?.place
  if (backup !== undefined && scanned !== undefined)
    return { from: backup.header.recovery?.from ?? scanned.height + 1 }
  const isNew = backup !== undefined && birthday === undefined
  const from = isNew
    ? Math.max(0, (await chain.tip()).height - syncLimits.birthdayBlocks)
    : await heightOf(chain, birthday)
  const place = await chain.placeAt(Math.max(0, from - 1))
  return { from, ...(place && { place }) }
}

async function worthOf(store: CoinStore): Promise<{ found: number; satoshis: number }> {
  let [found, satoshis] = [0, 0]
  for await (const coin of store.coins()) {
    const isThere = coin.spent === undefined && coin.basket !== undefined && coin.state !== 'failed'
    if (!isThere || coin.state === 'expected') continue
    found++
    satoshis += coin.satoshis
  }
  return { found, satoshis }
}

/** The first block that may have something. @throws ERR_MALFORMED without a birthday */
async function heightOf(chain: Chain, birthday: Birthday | undefined): Promise<number> {
  if (birthday === undefined)
    throw new MarketError('ERR_MALFORMED', 'without a backup a recovery needs a birthday: a height or a time')
  if ('height' in birthday) return birthday.height
  // Times of blocks nearly rise: within the tolerance they do.
  let [low, high] = [0, (await chain.tip()).height]
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if ((await timeOf(chain, middle)) > birthday.time - timeToleranceSeconds) high = middle - 1
    else low = middle
  }
  return low
}

/** Unix seconds; those of a block that is gone meanwhile are later than everything. */
async function timeOf(chain: Chain, height: number): Promise<number> {
  const header = await chain.header(height)
  return header === undefined ? Number.POSITIVE_INFINITY : readHeader(new Reader(header)).time
}
