/** The main story: two relays, three people, texts, a file, live listening, and a relay killed in the middle of it. */
import { createHash, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Connection, fromKeyWallet, parseAddress } from '../../client/index.ts'
import { openKeyFile } from '../../contracts/wallet/key-file.ts'
import { check, type Line, type Person, type RelayServer, short, type Stage } from './stage.ts'

const fileBytes = 5_000_000
const notes = 24
/** How many commands write at once, and how many are through when the relay dies. */
const lanes = 4
const notesBeforeKill = 9

export async function friends(stage: Stage): Promise<void> {
  stage.title('Two relays, three people')
  const one = await stage.startRelay('relay-1')
  const two = await stage.startRelay('relay-2')
  const [alice, bob, carol] = await Promise.all([
    settle(stage, 'Alice', one),
    settle(stage, 'Bob', two),
    settle(stage, 'Carol', two),
  ])
  stage.say('Each has a key of their own, and an identity file that says where their relays stand.')
  await befriend(stage, alice, bob)
  await befriend(stage, bob, alice)
  stage.say('Alice and Bob exchanged identity files. Nobody else is involved; there is no account.')

  const secret = await texts(stage, { alice, bob })
  await theft(stage, { carol, relay: one, path: secret })
  await live(stage, { alice, bob })
  await file(stage, { alice, bob })
  await kill(stage, { alice, bob, relay: one })
  stage.title(`Done in ${stage.seconds.toFixed(1)} s`)
}

export async function settle(stage: Stage, name: string, relay: RelayServer): Promise<Person> {
  const person = stage.person(name)
  await stage.run(person, 'init', '--label', name, '--relay', `${relay.url}#${relay.key}`)
  return person
}

export async function befriend(stage: Stage, person: Person, friend: Person): Promise<void> {
  const path = join(stage.folder, `${friend.name}.relayid`)
  await stage.run(friend, 'id', '--out', path)
  await stage.run(person, 'friend', 'add', path)
}

const textOf = (line: Line): unknown => (line.payload as { text?: unknown } | undefined)?.text
export const textsOf = (lines: Line[]): unknown[] => lines.map(textOf).filter((text) => text !== undefined)

async function texts(stage: Stage, { alice, bob }: { alice: Person; bob: Person }): Promise<string> {
  stage.title('Texts, both ways')
  const [sent] = await stage.run(alice, 'send', 'Bob', '--text', 'Hello Bob, are you there?')
  stage.say(`Alice  $ relay send Bob --text 'Hello Bob, are you there?'   → ${sent?.state} on her relay`)
  const heard = textsOf(await stage.run(bob, 'pull'))
  stage.say(`Bob    $ relay pull                                          → “${heard.join('”, “')}”`)
  check(heard.includes('Hello Bob, are you there?'), 'Bob to read what Alice sent')
  await stage.run(bob, 'send', 'Alice', '--text', 'I am now.')
  const answer = textsOf(await stage.run(alice, 'pull'))
  stage.say(`Alice  $ relay pull                                          → “${answer.join('”, “')}”`)
  check(answer.includes('I am now.'), 'Alice to read what Bob answered')
  const outbox = await stage.run(alice, 'outbox')
  const acknowledged = outbox.some((line) => line.state === 'acknowledged')
  check(acknowledged, 'Bob’s acknowledgement to have reached Alice')
  stage.say('Bob’s client put a signed acknowledgement on Bob’s relay; Alice’s has collected it.')
  return String(sent?.path)
}

/** Carol asks Alice's relay, in all form and under her own signature, for what Alice wrote to Bob. */
async function theft(
  stage: Stage,
  { carol, relay, path }: { carol: Person; relay: RelayServer; path: string },
): Promise<void> {
  stage.title('Carol is curious')
  const wallet = await openKeyFile(join(carol.home, 'key.json'))
  const connection = new Connection(parseAddress(`${relay.url}#${relay.key}`), fromKeyWallet(wallet))
  const refusal = await connection.call({ type: 'read', path }).then(
    () => undefined,
    (error: { code?: string; message: string }) => error,
  )
  check(refusal?.code === 'ERR_FORBIDDEN', 'Carol to be refused')
  stage.say(`Carol asks for Alice’s record to Bob; the relay answers, signed: ${refusal?.message}`)
}

async function live(stage: Stage, { alice, bob }: { alice: Person; bob: Person }): Promise<void> {
  stage.title('Bob listens')
  const { lines, child } = stage.follow(bob, 'listen')
  const reader = lines[Symbol.asyncIterator]()
  // What is stored comes first, so the second text finds Bob live.
  await stage.run(alice, 'send', 'Bob', '--text', 'Are you listening?')
  await heard(reader, 'Are you listening?')
  await stage.run(alice, 'send', 'Bob', '--text', 'This one comes live.')
  const line = await heard(reader, 'This one comes live.')
  const ms = Number(line.receivedMs) - Number(line.sentMs)
  stage.say(`Bob    $ relay listen   → “${textOf(line)}”, ${ms} ms after Alice sealed it`)
  child.kill('SIGINT')
}

/** The line of a certain text, skipping what else is printed. */
async function heard(reader: AsyncIterator<string>, text: string): Promise<Line> {
  for (;;) {
    const { value, done } = await reader.next()
    if (done === true) throw new Error(`Bob stopped listening before he heard “${text}”`)
    const line = JSON.parse(value) as Line
    if (textOf(line) === text) return line
  }
}

async function file(stage: Stage, { alice, bob }: { alice: Person; bob: Person }): Promise<void> {
  stage.title('A file of 5 MB')
  const content = randomBytes(fileBytes)
  const source = join(stage.folder, 'holiday.bin')
  await writeFile(source, content)
  const up = await timed(() => stage.run(alice, 'send', 'Bob', '--file', source))
  const down = await timed(() => stage.run(bob, 'pull'))
  const saved = down.value.find((line) => line.event === 'file' && line.state === 'saved')
  check(saved !== undefined, 'the file to arrive')
  const hashes = [content, await readFile(String(saved?.file))].map((bytes) => sha256(bytes))
  check(hashes[0] === hashes[1], 'the file to be the same')
  stage.say(`Alice  $ relay send Bob --file holiday.bin   → ${up.seconds.toFixed(1)} s, encrypted`)
  stage.say(
    `Bob    $ relay pull                          → ${down.seconds.toFixed(1)} s; SHA-256 ${short(hashes[1])} is Alice’s`,
  )
}

/** The relay dies while Alice writes; what it signed for must be there when it is back. */
async function kill(
  stage: Stage,
  { alice, bob, relay }: { alice: Person; bob: Person; relay: RelayServer },
): Promise<void> {
  stage.title('kill -9')
  const states: unknown[] = []
  let next = 0
  let killed: Promise<void> | undefined
  const send = async () => {
    while (next < notes) {
      const index = next++
      const { lines } = await stage.tryRun(alice, 'send', 'Bob', '--text', `note ${index + 1}`)
      states[index] = lines[0]?.state
      // The others are on their way then; what comes after them finds the relay dead.
      if (states.filter((state) => state === 'delivered').length >= notesBeforeKill)
        killed ??= stage.killRelay(relay)
    }
  }
  await Promise.all(Array.from({ length: lanes }, send))
  await killed
  const delivered = states.filter((state) => state === 'delivered').length
  const queued = states.filter((state) => state === 'queued').length
  stage.say(`Alice sends ${notes} notes; her relay is killed in the middle of it.`)
  stage.say(`${delivered} were signed for by the relay, ${queued} wait in her queue.`)
  check(delivered + queued === notes, 'every note to be delivered or queued')
  check(delivered > 0 && queued > 0, 'the relay to die in the middle of it')

  await stage.startRelay('relay-1', { port: Number(new URL(relay.url).port) })
  await stage.run(alice, 'outbox', '--flush')
  const heard = new Set(textsOf(await stage.run(bob, 'pull')))
  const missing = states.flatMap((_, i) => (heard.has(`note ${i + 1}`) ? [] : [i + 1]))
  check(missing.length === 0, `no note to be lost, but ${missing.join(', ')} are`)
  stage.say(`Restarted on the same folder, the queue flushed: Bob has all ${heard.size}, nothing lost.`)
}

async function timed<T>(work: () => Promise<T>): Promise<{ value: T; seconds: number }> {
  const start = performance.now()
  const value = await work()
  return { value, seconds: (performance.now() - start) / 1000 }
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
