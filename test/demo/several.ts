/** The story of several relays: one dies, one is left for another, friends and followers come along, and a folder is kept in step. */
import { createHash, randomBytes } from 'node:crypto'
import { copyFile, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { befriend, settle, textsOf } from './friends.ts'
import { check, type Line, type Person, type RelayServer, type Stage } from './stage.ts'

const files = 200
const fileBytes = 4000
/** How many of them change before the folder is synced again; one more is new, and one is deleted. */
const changed = 5
/** The second sync is to send less than this part of the first. */
const fraction = 0.1

interface Scene {
  readonly alice: Person
  readonly bob: Person
  readonly carol: Person
  /** Alice's three. */
  readonly relays: readonly [RelayServer, RelayServer, RelayServer]
  /** What is told at the end: what happened, and what it took. */
  readonly rows: [what: string, took: string][]
}

export async function several(stage: Stage): Promise<void> {
  stage.title('Alice has three relays')
  const [one, two, three, theirs] = await Promise.all(
    ['relay-1', 'relay-2', 'relay-3', 'their-relay'].map((name) => stage.startRelay(name, { isQuiet: true })),
  )
  const relays = [one!, two!, three!] as const // four were started
  const alice = stage.person('Alice')
  const addresses = relays.flatMap(({ url, key }) => ['--relay', `${url}#${key}`])
  const [bob, carol] = await Promise.all([
    settle(stage, 'Bob', theirs!),
    settle(stage, 'Carol', theirs!),
    stage.run(alice, 'init', '--label', 'Alice', ...addresses),
  ])
  await stage.run(alice, 'relays', '--quorum', '2')
  await Promise.all([befriend(stage, alice, bob), befriend(stage, bob, alice)])
  await stage.run(carol, 'follow', join(stage.folder, 'Alice.relayid'))
  for (const { name, url } of relays) stage.say(`${name} listens at ${url}`)
  stage.say('Alice  $ relay relays --quorum 2   what she sends is delivered when two of them signed for it')
  stage.say('Bob is her friend. Carol has only her identity file, and follows what she posts for all.')
  const scene: Scene = { alice, bob, carol, relays, rows: [] }

  await write(stage, scene)
  await die(stage, scene)
  await repair(stage, scene)
  await migrate(stage, scene)
  await sync(stage, scene)
  tell(stage, scene)
  stage.title(`Done in ${stage.seconds.toFixed(1)} s`)
}

async function write(stage: Stage, { alice, bob, carol }: Scene): Promise<void> {
  stage.title('She writes')
  await stage.run(alice, 'send', 'Bob', '--text', 'All three have this.')
  await stage.run(alice, 'post', 'Hello to everybody')
  const all = await stage.run(alice, 'check')
  check(
    all.length === 3 && all.every(({ health, expected }) => health === 'whole' && Number(expected) >= 2),
    'each relay to have what she wrote',
  )
  const proofs = all.reduce((sum, line) => sum + Number(line.proofs), 0)
  check(proofs >= all.length, 'each to prove it')
  stage.say("Alice  $ relay send Bob …; relay post 'Hello to everybody'")
  stage.say(
    `Alice  $ relay check   → ${all.length} relays whole, ${proofs} proofs that they hold her records`,
  )
  const [heard, posts] = await Promise.all([stage.run(bob, 'pull'), stage.run(carol, 'feed')])
  check(textsOf(heard).includes('All three have this.'), 'Bob to have it')
  check(textsOf(posts).includes('Hello to everybody'), 'Carol to have it')
}

async function die(stage: Stage, { alice, bob, carol, relays: [one], rows }: Scene): Promise<void> {
  stage.title('One of them dies')
  await stage.run(alice, 'send', 'Bob', '--text', 'Before the crash.')
  await stage.killRelay(one)
  stage.say('$ kill -9 relay-1')
  const sent = await stage.hear(alice, 'send', 'Bob', '--text', 'After the crash.')
  check(sent.lines[0]?.state === 'delivered', 'two signatures to be enough')
  await stage.run(alice, 'post', 'Two are still standing')
  stage.say(
    `Alice  $ relay send Bob …   → ${String(sent.lines[0]?.state)}; she is told: ${toldOf(sent, one)}`,
  )
  const start = stage.seconds
  const pulled = await stage.hear(bob, 'pull')
  const texts = textsOf(pulled.lines)
  check(texts.toSorted().join() === 'After the crash.,Before the crash.', 'Bob to have both, each once')
  const took = `${(stage.seconds - start).toFixed(1)} s`
  stage.say(`Bob    $ relay pull         → “${texts.join('”, “')}” in ${took}; he is told as well`)
  toldOf(pulled, one)
  const feed = await stage.hear(carol, 'feed')
  const posts = textsOf(feed.lines)
  check(posts.includes('Two are still standing'), 'Carol to have it from the others')
  toldOf(feed, one)
  stage.say(`Carol  $ relay feed         → “${posts.join('”, “')}”, through those that are left`)
  rows.push(['a relay died', `Bob had everything after ${took}`])
}

/** Its disk is gone, and its operator had kept its key alone. */
async function repair(stage: Stage, { alice, relays: [one], rows }: Scene): Promise<void> {
  stage.title('Its disk is gone too')
  const [data, lost] = [join(stage.folder, one.name), join(stage.folder, 'lost')]
  await rename(data, lost)
  await mkdir(data)
  await copyFile(join(lost, 'relay.key'), join(data, 'relay.key'))
  await stage.startRelay(one.name, { port: Number(new URL(one.url).port), isQuiet: true })
  stage.say('relay-1 is back, under its name, on an empty disk. It signed for what it no longer has.')
  const checked = await stage.tryRun(alice, 'check')
  const found = checked.lines.find(({ relay }) => String(relay).startsWith(one.url))
  check(checked.code === 1 && found?.health === 'emptied', 'the loss to be noticed')
  stage.say(
    `Alice  $ relay check    → exit code 1: relay-1 ${String(found?.health)}, ${String(found?.missing)} records missing`,
  )
  const [mended] = (await stage.run(alice, 'repair')).filter(({ repaired }) => Number(repaired) > 0)
  check(mended?.repaired === found?.missing && mended?.left === 0, 'all of it to be put back')
  await stage.run(alice, 'outbox', '--flush')
  const [after, ...others] = await stage.run(alice, 'check')
  check(after?.health === 'whole' && Number(after.proofs) > 0 && after.queued === 0, 'it to be whole')
  check(
    others.every(({ expected }) => expected === after?.expected),
    'each to have as much',
  )
  stage.say(
    `Alice  $ relay repair   → ${String(mended?.repaired)} put back: the same signed bytes, out of her home`,
  )
  stage.say(
    `Alice  $ relay check    → all whole: each has her ${String(after?.expected)} records, and proves it`,
  )
  rows.push(['its disk was lost', `${String(mended?.repaired)} records put back`])
}

async function migrate(stage: Stage, { alice, bob, carol, relays, rows }: Scene): Promise<void> {
  stage.title('Alice moves')
  const [one, two, three] = relays
  const four = await stage.startRelay('relay-4', { isQuiet: true })
  const route = ['--from', two.url, '--to', `${four.url}#${four.key}`]
  const [begun] = await stage.run(alice, 'migrate', ...route, '--once')
  check(begun?.step === 'meet' && String(begun.unseen) === 'Bob', 'Bob to be waited for')
  stage.say(`Alice  $ relay migrate --from relay-2 --to relay-4   → ${String(begun?.copied)} records copied;`)
  stage.say('       relay-2 is not left before Bob was seen on the new one')
  const told = await stage.hear(bob, 'pull')
  const note = told.notes.find((text) => text.includes('Alice is now on'))
  check(note?.includes(four.url) === true, 'Bob to be told where she is')
  stage.say(
    'Bob    $ relay pull   → note: Alice is now on … relay-4. He did nothing for it, and looked there at once.',
  )
  const [moved] = await stage.run(alice, 'migrate', '--once')
  check(moved?.step === 'done' && moved.unmovedCount === 0, 'the move to be done')
  check(isNone(moved?.lost) && isNone(moved?.unseen), 'nothing to be lost, and nobody')
  stage.say(
    `Alice  $ relay migrate   → ${String(moved?.step)}: ${String(moved?.copied)} records verified, none lost`,
  )
  const left = await stage.hear(bob, 'pull')
  check(
    left.notes.some((text) => text.includes('Alice is now on')),
    'Bob to be told that she left',
  )
  await stage.stopRelay(two)
  stage.say('$ kill relay-2       for good')

  await stage.run(alice, 'send', 'Bob', '--text', 'From my new place.')
  await stage.run(alice, 'post', 'I have moved')
  const heard = await stage.hear(bob, 'pull')
  check(
    textsOf(heard.lines).includes('From my new place.') && heard.notes.length === 0,
    'Bob to have followed',
  )
  const [friend] = await stage.run(bob, 'friend', 'list')
  const now = [one, three, four].map(({ url, key }) => `${url}#${key}`)
  check(
    String((friend?.relays as string[] | undefined)?.toSorted()) === String(now.toSorted()),
    'Bob to know her relays of now',
  )
  stage.say(`Bob    $ relay pull   → “${textsOf(heard.lines).join('”, “')}”; nobody misses relay-2`)
  const feed = await stage.hear(carol, 'feed')
  check(
    feed.notes.some((text) => text.includes('Alice is now on') && text.includes(four.url)),
    'Carol to be told',
  )
  check(textsOf(feed.lines).includes('I have moved'), 'Carol to have followed too')
  stage.say(`Carol  $ relay feed   → “${String(textsOf(feed.lines).at(-1))}”; she has followed as well`)
  rows.push(['she moved', `${String(moved?.copied)} records copied; Bob and Carol followed`])
}

async function sync(stage: Stage, { alice, bob, rows }: Scene): Promise<void> {
  stage.title(`A folder of ${files} files`)
  const [hers, his] = [join(stage.folder, 'alices', 'notes'), join(stage.folder, 'bobs', 'notes')]
  await Promise.all([mkdir(hers, { recursive: true }), mkdir(his, { recursive: true })])
  const write = (index: number) => writeFile(join(hers, `note-${index}.bin`), randomBytes(fileBytes))
  for (let index = 0; index < files; index++) await write(index)
  const both = async () => {
    const [up] = await stage.run(alice, 'sync', hers, 'Bob')
    const [down] = await stage.run(bob, 'sync', his, 'Alice')
    check((await digest(hers)) === (await digest(his)), 'both folders to be the same')
    const [sent, fetched] = [Number((up?.sent as Line | undefined)?.bytes), Number(down?.fetchedBytes)]
    const news = [countOf(down?.received), countOf(down?.removed)] as const
    stage.say(`Alice  $ relay sync notes Bob     → ${kilobytes(sent)} sent`)
    stage.say(
      `Bob    $ relay sync notes Alice   → ${news[0]} files came, ${news[1]} went, ${kilobytes(fetched)} fetched`,
    )
    return { sent, fetched, news: news.join() }
  }
  const first = await both()
  check(first.news === `${files},0` && first.sent >= files * fileBytes, 'all of it to travel once')
  for (let index = 0; index < changed; index++) await write(index * 40)
  await write(files)
  await rename(join(hers, 'note-1.bin'), join(stage.folder, 'note-1.bin'))
  stage.say(`She changes ${changed} files, adds one and takes one away.`)
  const second = await both()
  check(second.news === `${changed + 1},1`, 'only what changed to travel')
  for (const way of ['sent', 'fetched'] as const)
    check(second[way] < first[way] * fraction, `${way} to be less than ${fraction} of the first time`)
  const part = `${((100 * second.sent) / first.sent).toFixed(1)} %`
  stage.say(`Both folders are the same, byte for byte; the second time took ${part} of the bytes.`)
  rows.push([`${files} files, twice`, `${kilobytes(first.sent)}, then ${kilobytes(second.sent)}: ${part}`])
}

function tell(stage: Stage, { rows }: Scene): void {
  stage.title('In short: nothing is lost')
  const width = Math.max(...rows.map(([what]) => what.length))
  for (const [what, took] of rows) stage.say(`${what.padEnd(width)}   ${took}`)
}

/** What was said of a relay that is away. */
function toldOf({ notes }: { readonly notes: readonly string[] }, { url, name }: RelayServer): string {
  const note = notes.find((text) => text.startsWith('warning:') && text.includes(url))
  check(note !== undefined, `the death of ${name} to be told`)
  return String(note)
    .replace('warning: ', '')
    .replace(/: connect .*/, '')
}

async function digest(folder: string): Promise<string> {
  const hash = createHash('sha256')
  for (const name of (await readdir(folder)).sort())
    hash.update(name).update(await readFile(join(folder, name)))
  return hash.digest('hex')
}

const kilobytes = (bytes: number): string => `${(bytes / 1000).toFixed(1)} kB`
const countOf = (list: Line[string]): number => (list as unknown[]).length
const isNone = (list: Line[string]): boolean => countOf(list) === 0
