/** Whom the user knows: their identity files, under names only the user gives. */
import { z } from 'zod'
import { formatAddress, type RelayAddress, parseAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import { type IdentityFile, openIdentity, type Succession, succession } from '../../market/identity-file.ts'
import { safeName } from '../../market/payload.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { codeOf, messageOf } from '../errors.ts'
import { namesIn, readJson, readWhole, remove, writeDurably } from '../home/durable.ts'
import type { Home } from '../home/home.ts'
import { identityText, placeIn } from './identity-url.ts'
import { checkAlias } from './names.ts'
import { distinct, ownRelays } from './relays.ts'

const keptForks = 8

const SavedFriend = z.strictObject({
  identity: z.string(),
  alias: z.string().min(1).max(64),
  /** Other files the same key signed for the same place in the chain: somebody else may have the key. */
  forks: z.array(z.string()).max(keptForks),
  /** Of the URL that the user gave. */
  named: z.string().optional(),
})

export interface Friend {
  readonly key: Key
  /** The local name; it stays when the friend takes another label. */
  readonly alias: string
  readonly label: string
  readonly relays: readonly RelayAddress[]
  readonly file: IdentityFile
  readonly forks: readonly string[]
  /** Where the user himself said that this friend is to be found. */
  readonly named?: string | undefined
}

type Heard = Pick<Context, 'home' | 'notify'>

/** All friends by alias. One whose file is damaged is named in a notice and left out, so that the others stay. */
export async function friends({ home, notify }: Heard): Promise<Friend[]> {
  const all = (await keysIn(home)).map(async (key) => {
    try {
      return await friend(home, key)
    } catch (error) {
      if (codeOf(error) !== 'ERR_DAMAGED') throw error
      notify({ type: 'damaged', error: error as Error })
      return undefined
    }
  })
  const found = (await Promise.all(all)).filter((one) => one !== undefined)
  return found.sort((a, b) => a.alias.localeCompare(b.alias))
}

/** The own relays and those of all friends. */
export async function everyRelay(ctx: Context): Promise<RelayAddress[]> {
  const ofFriends = (await friends(ctx)).flatMap(({ relays }) => relays)
  return distinct([...(await ownRelays(ctx)), ...ofFriends])
}

/** The keys of all friends: whoever has a file is no stranger, even if it is damaged. */
export const friendKeys = async ({ home }: Pick<Context, 'home'>): Promise<Set<Key>> =>
  new Set(await keysIn(home))

async function keysIn(home: Home): Promise<Key[]> {
  const names = (await namesIn(home.path('friends'))).filter((name) => name.endsWith('.json'))
  return names.map((name) => name.slice(0, -'.json'.length))
}

/** A relay of friends, with everybody to be heard there. */
export interface FriendsRelay {
  readonly address: RelayAddress
  readonly owners: readonly Key[]
}

/** Each relay of these friends, by its address. */
export function relaysOf(all: readonly Friend[]): Map<string, FriendsRelay> {
  const found = new Map<string, FriendsRelay>()
  for (const { key, relays } of all) {
    for (const address of relays) {
      const owners = found.get(formatAddress(address))?.owners ?? []
      found.set(formatAddress(address), { address, owners: [...owners, key].sort() })
    }
  }
  return found
}

export async function friend(home: Home, key: Key): Promise<Friend | undefined> {
  const path = fileOf(home, key)
  const saved = await readJson(path, SavedFriend)
  if (saved === undefined) return undefined
  const file = readWhole(path, () => openIdentity(saved.identity))
  const { label, relays } = file.msg.request
  const { alias, forks, named } = saved
  return { key: file.msg.from, label, relays: relays.map(parseAddress), file, alias, forks, named }
}

/** The one friend meant by a key, an alias or a label. @throws ERR_NOT_FOUND, ERR_CONFLICT when several are meant */
export async function findFriend(ctx: Heard, reference: string): Promise<Friend> {
  const all = await friends(ctx)
  const byRank = [
    all.filter(({ key }) => key === reference),
    // An alias was given by the user, a label by whoever: no label may stand in an alias' place.
    all.filter(({ alias }) => alias === reference),
    all.filter(({ label }) => label === reference),
    all.filter(({ alias }) => alias.toLowerCase() === reference.toLowerCase()),
    all.filter(({ label }) => label.toLowerCase() === reference.toLowerCase()),
  ]
  const [found, ...others] = byRank.find((matches) => matches.length > 0) ?? []
  if (found === undefined)
    throw new MarketError('ERR_NOT_FOUND', `there is no friend ${reference}; ${friendsText(all)}`)
  if (others.length > 0)
    throw new MarketError(
      'ERR_CONFLICT',
      `${reference} is ${others.length + 1} friends: use the alias or the key`,
    )
  return found
}

function friendsText(all: readonly Friend[]): string {
  if (all.length === 0) return 'you have no friends yet: relay friend add FILE'
  const names = all.slice(0, toldFriends).map(({ alias }) => alias)
  return `you have ${names.join(', ')}${all.length > names.length ? ' and others' : ''}`
}
const toldFriends = 20

/**
 * Takes an identity file the user hands over, or its URL, of a new friend or a known one. With `alias` a known friend is called that
 * from now on, though the file be an old one.
 * @throws ERR_CONFLICT for a rollback, a fork (which is kept to be shown), or a name that is taken
 */
export async function addFriend(
  ctx: Context,
  text: string,
  { alias }: { alias?: string | undefined } = {},
): Promise<Added> {
  if (alias !== undefined) checkAlias(alias)
  const file = readIdentity(await identityText(ctx, text))
  const key = file.msg.from
  if (key === ctx.wallet.identity) throw new MarketError('ERR_CONFLICT', 'this is your own identity')
  return ctx.home.lock('friends', async () => {
    const held = await friend(ctx.home, key)
    const name = alias ?? held?.alias ?? file.msg.request.label
    await checkFree(ctx, name, key)
    const isRenamed = held !== undefined && held.alias !== name
    const relation = held === undefined ? 'new' : await succeed(ctx, held, file)
    const label = (held ?? { alias: name }).alias
    if (relation === 'older' && !isRenamed)
      throw new MarketError('ERR_CONFLICT', `this identity file of ${label} is older than the one held`)
    if (relation === 'fork')
      throw new MarketError(
        'ERR_CONFLICT',
        `this identity file contradicts the one held of ${label}: it is a fork`,
      )
    const kept = relation === 'same' || relation === 'older' ? held!.file : file // compared with the held one
    const named = placeIn(text) ?? held?.named
    await save(ctx.home, { alias: name, forks: held?.forks ?? [], file: kept, named })
    return { friend: (await friend(ctx.home, key))!, succession: relation, isRenamed } // just saved
  })
}

export interface Added {
  readonly friend: Friend
  /** What the file is to the one held. */
  readonly succession: Succession | 'new'
  readonly isRenamed: boolean
}

/** Calls a friend by another name. @throws ERR_MALFORMED, ERR_CONFLICT when another friend has it */
export async function renameFriend(ctx: Context, key: Key, alias: string): Promise<Friend> {
  checkAlias(alias)
  return ctx.home.lock('friends', async () => {
    await checkFree(ctx, alias, key)
    const held = await friend(ctx.home, key)
    if (held === undefined) throw new MarketError('ERR_NOT_FOUND', `there is no friend ${key}`)
    await save(ctx.home, { ...held, alias })
    return { ...held, alias }
  })
}

async function checkFree(ctx: Context, name: string, key: Key): Promise<void> {
  const isTaken = (await friends(ctx)).some((other) => other.alias === name && other.key !== key)
  if (isTaken)
    throw new MarketError('ERR_CONFLICT', `another friend is called ${name}: choose an alias with --as`)
}

/** @throws as `openIdentity`, in words for who named the wrong file */
function readIdentity(text: string): IdentityFile {
  try {
    return openIdentity(text)
  } catch (cause) {
    if (codeOf(cause) !== 'ERR_MALFORMED') throw cause
    throw new MarketError('ERR_MALFORMED', `this is not an identity file: ${messageOf(cause)}`, { cause })
  }
}

/** Takes an identity file that came in a record; anything but a newer file of this same friend changes nothing. */
export async function updateFriend(ctx: Context, key: Key, text: string): Promise<void> {
  const file = openIdentity(text)
  if (file.msg.from !== key)
    throw new MarketError('ERR_CONFLICT', 'this is the identity file of somebody else')
  await ctx.home.lock('friends', async () => {
    const held = await friend(ctx.home, key)
    if (held === undefined) return
    const relation = await succeed(ctx, held, file)
    if (relation !== 'next' && relation !== 'skipped') return
    await save(ctx.home, { ...held, file })
    ctx.notify({ type: 'friend-moved', friend: key, name: held.alias, relays: file.msg.request.relays })
  })
}

export async function removeFriend(home: Home, key: Key): Promise<void> {
  await home.lock('friends', () => remove(fileOf(home, key)))
}

/** The folder for a friend's files: the alias, made unmistakable where two aliases look the same on disk. */
export async function folderOf(ctx: Heard, key: Key): Promise<string> {
  const all = await friends(ctx)
  const alias = all.find((one) => one.key === key)?.alias
  if (alias === undefined) return key
  const name = safeName(alias)
  const same = (other: Friend) =>
    other.key !== key && safeName(other.alias).toLowerCase() === name.toLowerCase()
  return all.some(same) ? `${name} ${key.slice(0, 8)}` : name
}

async function succeed(ctx: Context, held: Friend, file: IdentityFile): Promise<Succession> {
  const relation = succession(held.file, file)
  if (relation !== 'fork') return relation
  if (!held.forks.includes(file.text)) {
    await save(ctx.home, { ...held, forks: [...held.forks, file.text].slice(-keptForks) })
  }
  ctx.notify({ type: 'friend-forked', friend: held.key })
  return relation
}

function save(
  home: Home,
  { file, alias, forks, named }: Pick<Friend, 'file' | 'alias' | 'forks' | 'named'>,
): Promise<void> {
  const saved = { identity: file.text, alias, forks, named }
  return writeDurably(fileOf(home, file.msg.from), JSON.stringify(saved))
}

const fileOf = (home: Home, key: Key): string => home.path('friends', `${key}.json`)

export const keyOf = (one: Key | Friend): Key => (typeof one === 'string' ? one : one.key)
