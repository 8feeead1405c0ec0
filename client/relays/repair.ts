/** Putting back what relays lost: the same sealed bytes, from the outbox. */
import type { RelayAddress } from '../../market/address.ts'
import type { RecordId } from '../../market/record.ts'
import type { Context } from '../context.ts'
import { relaysNamed } from '../people/relays.ts'
import { type Checked, checkRelay } from './check.ts'
import { type Copied, type CopyOptions, copyTo } from './copy.ts'

/** What became of one relay: as it was, what was put back, and how it is now. */
export interface Repaired extends Omit<Copied, 'cost'> {
  readonly relay: RelayAddress
  readonly before: Checked
  readonly cost: Copied['cost'] | undefined
  /** Absent where nothing was to be put back. */
  readonly after?: Checked
  /** What could not be put back, because the relay lists it and says it has it. */
  readonly held: readonly RecordId[]
  readonly error?: Error
}

/** Repairs the own relays, or the one that is named, one after another. `maxCost` is for all of them together. */
export async function repairRelays(
  ctx: Context,
  reference: string | undefined,
  { maxCost, ...options }: CopyOptions = {},
): Promise<Repaired[]> {
  const all: Repaired[] = []
  let left = maxCost
  for (const relay of await relaysNamed(ctx, reference, options.signal)) {
    const work = () => repairRelay(ctx, relay, { ...options, maxCost: left })
    const done = await ctx.home.lock(`repair-${relay.key}`, work, { signal: options.signal })
    if (left !== undefined) left -= done.copied.length > 0 ? Number(done.cost?.satoshis ?? 0) : 0
    all.push(done)
  }
  return all
}

async function repairRelay(ctx: Context, relay: RelayAddress, options: CopyOptions): Promise<Repaired> {
  const { signal } = options
  const before = await checkRelay(ctx, relay, { signal, prove: 0 })
  const nothing = { relay, before, copied: [], unmoved: [], cost: undefined, held: before.failed }
  if (before.error !== undefined) return { ...nothing, error: before.error }
  if (before.missing.length === 0) return nothing
  try {
    const copied = await copyTo(ctx, ctx.connect(relay), { ids: before.missing }, options)
    return { ...nothing, ...copied, after: await checkRelay(ctx, relay, { signal, prove: 0 }) }
  } catch (error) {
    signal?.throwIfAborted()
    return { ...nothing, error: error as Error }
  }
}
