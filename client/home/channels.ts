/**
 * Private channels on disk: a channel is its owner and the name he gave it, and has a new key with every change of its members
 * (docs/protocol.md §5). Each key is an epoch; epochs only rise, so a record that was kept back and comes late changes nothing.
 */
import { z } from 'zod'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { fromHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import { type Channel, type ChannelRemoved, payloadLimits } from '../../market/payload.ts'
import { RecordId } from '../../market/record.ts'
import { Hash, Key, Milliseconds } from '../../market/units.ts'
import { namesIn, readJson, writeDurably } from './durable.ts'
import { hashOf, type Home } from './home.ts'

export const channelLimits = {
  /** Own ones, and those friends invite to. */
  channels: 500,
  /** Those of one friend. */
  ofFriend: 50,
  /** A change of members sends each of them a record. */
  members: 256,
} as const

const EpochKey = z.strictObject({
  epoch: z.int().min(0),
  /** The private key, hex. */
  key: Hash,
  /** Since when we know it. */
  sinceMs: Milliseconds,
})
export type EpochKey = z.infer<typeof EpochKey>

/** Who is to hear of the last change by a record that may be in the outbox already: a member gets the key of now, with the old ones or without. */
const Untold = z.strictObject({
  to: Key,
  recordId: RecordId,
  hasHistory: z.boolean(),
  /** A member no longer: he hears that, and gets nothing. */
  isRemoved: z.boolean().optional(),
})
export type Untold = z.infer<typeof Untold>

const KeptChannel = z.strictObject({
  owner: Key,
  name: z.string().min(1).max(payloadLimits.nameLength),
  /** The newest last: it is the key of now. */
  keys: z.array(EpochKey).min(1).max(payloadLimits.epochs),
  /** Besides the owner. */
  members: z.array(Key).max(payloadLimits.members),
  /** Of an own channel. */
  untold: z.array(Untold),
  /** Of a friend's channel: from which epoch on we are no member, and since when we know. */
  removed: z.strictObject({ epoch: z.int().min(1), sinceMs: Milliseconds }).optional(),
})
export type KeptChannel = z.infer<typeof KeptChannel>

export const currentKey = ({ keys }: Pick<KeptChannel, 'keys'>): EpochKey => keys.at(-1)! // one at least

/** What a key of a channel reads as. @throws ERR_MALFORMED unless it is a private key of nobody else */
export function walletOf({ key }: Pick<EpochKey, 'key'>): KeyWallet {
  const wallet = new KeyWallet(fromHex(key))
  if (wallet.identity === ANYONE_KEY)
    throw new MarketError('ERR_MALFORMED', 'the key of a private channel is one that everybody has')
  return wallet
}

/** Every channel, by name. @throws ERR_DAMAGED */
export async function keptChannels(home: Home): Promise<KeptChannel[]> {
  const names = (await namesIn(home.path('channels'))).filter((name) => name.endsWith('.json'))
  const all = await Promise.all(names.map((name) => readJson(home.path('channels', name), KeptChannel)))
  const found = all.filter((one) => one !== undefined)
  return found.sort((a, b) => a.name.localeCompare(b.name) || (a.owner < b.owner ? -1 : 1))
}

export const keptChannel = (
  home: Home,
  channel: Pick<KeptChannel, 'owner' | 'name'>,
): Promise<KeptChannel | undefined> => readJson(fileOf(home, channel), KeptChannel)

/** Call it under the lock `channels`. */
export const saveChannel = (home: Home, channel: KeptChannel): Promise<void> =>
  writeDurably(fileOf(home, channel), JSON.stringify(channel))

export const withChannels = <T>(home: Home, work: () => Promise<T>): Promise<T> => home.lock('channels', work)

/**
 * Takes the key that `owner` sent us. The same again changes nothing.
 * @throws ERR_CONFLICT for an epoch that is not above the one held, or a key that belongs to another channel or epoch;
 *   ERR_LIMIT; ERR_MALFORMED for what is no key
 */
export async function takeChannel(
  home: Home,
  { owner, nowMs }: { readonly owner: Key; readonly nowMs: number },
  offered: Channel,
): Promise<void> {
  const { name, epoch, key, members, history = [] } = offered
  for (const one of [offered, ...history]) walletOf(one)
  await withChannels(home, async () => {
    const all = await keptChannels(home)
    const held = all.find((one) => one.owner === owner && one.name === name)
    const now = held && currentKey(held)
    if (now?.epoch === epoch && now.key === key) return
    if (now !== undefined && epoch <= now.epoch)
      throw new MarketError(
        'ERR_CONFLICT',
        `the channel ${name} has a newer key than this one, of epoch ${epoch}: it is a replay, or forged`,
      )
    // Of this owner: whoever has a key may say it is his, and must not keep it from its owner's channel.
    const ofOwner = all.filter((one) => one.owner === owner)
    if (ofOwner.some(({ keys }) => keys.some((one) => one.key === key)))
      throw new MarketError(
        'ERR_CONFLICT',
        `the key of the channel ${name} belongs to another channel or epoch`,
      )
    if (held === undefined && all.length >= channelLimits.channels)
      throw new MarketError('ERR_LIMIT', `there are ${all.length} channels already`)
    if (held === undefined && ofOwner.length >= channelLimits.ofFriend)
      throw new MarketError('ERR_LIMIT', `there are ${ofOwner.length} channels of this friend already`)
    // Of an epoch that is known the key is known too: nobody gives it another one.
    const known = new Map([...history, ...(held?.keys ?? [])].map((one) => [one.epoch, one.key]))
    const since = new Map(held?.keys.map((one) => [one.epoch, one.sinceMs]))
    const older = [...known].filter(([one]) => one < epoch).sort(([a], [b]) => a - b)
    const keys = [...older, [epoch, key] as const].map(([one, text]) => ({
      ...{ epoch: one, key: text, sinceMs: since.get(one) ?? nowMs },
    }))
    // A key from before we were removed lets nobody in again.
    const isIn = held?.removed === undefined || epoch > held.removed.epoch
    const removed = isIn ? {} : { removed: held?.removed }
    const taken = { owner, name, members, keys: keys.slice(-payloadLimits.epochs), untold: [], ...removed }
    await saveChannel(home, taken)
  })
}

/** Takes the word of `owner` that we are no member any more, unless it is older than the key held. What was read stays. */
export async function takeRemoval(
  home: Home,
  { owner, nowMs }: { readonly owner: Key; readonly nowMs: number },
  { name, epoch }: ChannelRemoved,
): Promise<void> {
  await withChannels(home, async () => {
    const held = await keptChannel(home, { owner, name })
    if (held === undefined || epoch <= Math.max(currentKey(held).epoch, held.removed?.epoch ?? 0)) return
    await saveChannel(home, { ...held, removed: { epoch, sinceMs: held.removed?.sinceMs ?? nowMs } })
  })
}

/** Named by a hash: the name is its owner's word. */
const fileOf = (home: Home, { owner, name }: Pick<KeptChannel, 'owner' | 'name'>): string =>
  home.path('channels', `${hashOf(`${owner} ${name}`)}.json`)
