/** Whom the user knows: their identity files, under names only the user gives. */
import { z } from 'zod'
import { type RelayAddress, parseAddress } from '../market/address.ts'
import { MarketError } from '../market/errors.ts'
import { type IdentityFile, openIdentity, type Succession, succession } from '../market/identity-file.ts'
import { safeName } from '../market/payload.ts'
import type { Key } from '../market/units.ts'
import type { Context } from './context.ts'
import { namesIn, readJson, readWhole, remove, writeDurably } from './durable.ts'
import type { Home } from './home.ts'

const keptForks = 8

const SavedFriend = z.strictObject({
  identity: z.string(),
  alias: z.string().min(1).max(64),
  /** Other files the same key signed for the same place in the chain: somebody else may have the key. */
  forks: z.array(z.string()).max(keptForks),
})

export interface Friend {
  readonly key: Key
  /** The local name; it stays when the friend takes another label. */
  readonly alias: string
  readonly label: string
  readonly relays: readonly RelayAddress[]
  readonly file: IdentityFile
  readonly forks: readonly string[]
}

export async function friends(home: Home): Promise<Friend[]> {
  const names = (await namesIn(home.path('friends'))).filter((name) => name.endsWith('.json'))
  const all = await Promise.all(names.map((name) => friend(home, name.slice(0, -'.json'.length))))
  return all.filter((one) => one !== undefined).sort((a, b) => a.alias.localeCompare(b.alias))
}

export async function friend(home: Home, key: Key): Promise<Friend | undefined> {
  const path = fileOf(home, key)
  const saved = await readJson(path, SavedFriend)
  if (saved === undefined) return undefined
  const file = readWhole(path, () => openIdentity(saved.identity))
  const { label, relays } = file.msg.request
  return { key: file.msg.from, label, relays: relays.map(parseAddress), file, ...pick(saved) }
}

/** The one friend meant by a key, an alias or a label. @throws ERR_NOT_FOUND, ERR_CONFLICT when several are meant */
export async function findFriend(home: Home, reference: string): Promise<Friend> {
  const all = await friends(home)
  const byRank = [
    all.filter(({ key }) => key === reference),
    // An alias was given by the user, a label by whoever: no label may stand in an alias' place.
    all.filter(({ alias }) => alias === reference),
    all.filter(({ label }) => label === reference),
  ]
  const [found, ...others] = byRank.find((matches) => matches.length > 0) ?? []
  if (found === undefined) throw new MarketError('ERR_NOT_FOUND', `there is no friend ${reference}`)
  if (others.length > 0)
    throw new MarketError(
      'ERR_CONFLICT',
      `${reference} is ${others.length + 1} friends: use the alias or the key`,
    )
  return found
}

/**
 * Takes an identity file the user hands over, of a new friend or a known one.
 * @throws ERR_CONFLICT for a rollback, a fork (which is kept to be shown), or a name that is taken
 */
export async function addFriend(
  ctx: Context,
  text: string,
  { alias }: { alias?: string | undefined } = {},
): Promise<{ friend: Friend; succession: Succession | 'new' }> {
  const file = openIdentity(text)
  const key = file.msg.from
  if (key === ctx.wallet.identity) throw new MarketError('ERR_CONFLICT', 'this is your own identity')
  return ctx.home.lock('friends', async () => {
    const held = await friend(ctx.home, key)
    const name = alias ?? held?.alias ?? file.msg.request.label
    const taken = (await friends(ctx.home)).some((other) => other.alias === name && other.key !== key)
    if (taken)
      throw new MarketError('ERR_CONFLICT', `another friend is called ${name}: choose an alias with --as`)
    const relation = held === undefined ? 'new' : await succeed(ctx, held, file)
    const label = (held ?? { alias: name }).alias
    if (relation === 'older')
      throw new MarketError('ERR_CONFLICT', `this identity file of ${label} is older than the one held`)
    if (relation === 'fork')
      throw new MarketError(
        'ERR_CONFLICT',
        `this identity file contradicts the one held of ${label}: it is a fork`,
      )
    const kept = relation === 'same' ? held!.file : file // `same` as the held one
    await save(ctx.home, { alias: name, forks: held?.forks ?? [], file: kept })
    return { friend: (await friend(ctx.home, key))!, succession: relation } // just saved
  })
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
    ctx.notify({ type: 'friend-moved', friend: key, relays: file.msg.request.relays })
  })
}

export async function removeFriend(home: Home, key: Key): Promise<void> {
  await home.lock('friends', () => remove(fileOf(home, key)))
}

/** The folder for a friend's files: the alias, made unmistakable where two aliases look the same on disk. */
export async function folderOf(home: Home, key: Key): Promise<string> {
  const all = await friends(home)
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

function save(home: Home, { file, alias, forks }: Pick<Friend, 'file' | 'alias' | 'forks'>): Promise<void> {
  return writeDurably(fileOf(home, file.msg.from), JSON.stringify({ identity: file.text, alias, forks }))
}

const fileOf = (home: Home, key: Key): string => home.path('friends', `${key}.json`)
const pick = ({ alias, forks }: z.infer<typeof SavedFriend>) => ({ alias, forks })
