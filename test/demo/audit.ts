/** The story of trust: credit that is paid with coins, books that agree to the satoshi, a relay that cheats, and a third person who can tell. */
import { join } from 'node:path'
import { startDevnet } from '../../contracts/chain/devnet/local.ts'
import { Cheat } from './cheat.ts'
import { befriend, settle, textsOf } from './friends.ts'
import { check, type Line, type Person, type RelayServer, type Stage } from './stage.ts'

/** Dear, so that a text costs whole satoshi and the figures can be followed. */
const egressGB = 40_000_000
const prices = ['storageGBDay=40000', `egressGB=${egressGB}`, 'ingressGB=20000000']
const given = 100_000
const paid = 9000
const texts = ['Are you there?', 'It is important.', 'Call me.']

interface Scene {
  readonly alice: Person
  readonly bob: Person
  readonly carol: Person
  readonly relay: RelayServer
  readonly cheat: Cheat
}

export async function audit(stage: Stage): Promise<void> {
  stage.title('A relay that takes coins')
  const devnet = await startDevnet({ host: '127.0.0.1', port: 0, now: Date.now })
  let cheat: Cheat | undefined
  try {
    const named = `devnet:${devnet.url}`
    const sells = prices.flatMap((price) => ['--price', price])
    const relay = await stage.startRelay('relay-1', { options: ['--chain', named, ...sells] })
    cheat = await Cheat.before(relay)
    const free = await stage.startRelay('bobs-relay')
    const [alice, bob] = await Promise.all([
      settle(stage, 'Alice', { ...relay, url: cheat.url }),
      settle(stage, 'Bob', free),
    ])
    await befriend(stage, alice, bob)
    await befriend(stage, bob, alice)
    const scene = { alice, bob, carol: stage.person('Carol'), relay, cheat }
    await deposit(stage, scene, named)
    await talk(stage, scene)
    await agree(stage, scene)
    await expose(stage, scene)
    stage.title(`Done in ${stage.seconds.toFixed(1)} s`)
  } finally {
    cheat?.close()
    await devnet.close()
  }
}

async function deposit(stage: Stage, { alice, relay, cheat }: Scene, chain: string): Promise<void> {
  stage.title('Alice pays for what she will use')
  await stage.run(alice, 'wallet', 'faucet', String(given), '--chain', chain)
  const address = `${cheat.url}#${relay.key}`
  const [line] = await stage.run(alice, 'deposit', address, String(paid), '--yes', '--max-cost', '9100')
  check(line?.available === String(paid), 'the deposit to be her credit')
  stage.say(`Alice  $ relay deposit RELAY ${paid} --max-cost 9100`)
  stage.say(`       → ${line?.available} satoshi of credit, fee ${line?.fee}; asked by 402, paid by BRC-105`)
}

async function talk(stage: Stage, { alice, bob }: Scene): Promise<void> {
  stage.title('Alice writes, Bob pulls')
  for (const text of texts) await stage.run(alice, 'send', 'Bob', '--text', text)
  const heard = textsOf(await stage.run(bob, 'pull'))
  check(
    texts.every((text) => heard.includes(text)),
    'Bob to have every text',
  )
  stage.say(`Alice  $ relay send Bob …   (${texts.length} times)`)
  stage.say(`Bob    $ relay pull         → “${heard.join('”, “')}”`)
  stage.say('Each pull was signed by Bob, and his client put a signed ack on his own relay.')
}

async function agree(stage: Stage, { alice }: Scene): Promise<void> {
  stage.title('Three books that agree')
  const lines = await stage.run(alice, 'audit')
  const purse = purseOf(lines)
  check(purse.claimed === purse.supported, 'what is claimed to be what is supported')
  check(Number(purse.pulls) >= texts.length, 'her texts to have been pulled')
  stage.say(`Alice  $ relay audit        → exit code 0`)
  stage.say(
    `       the relay claims ${purse.claimed} satoshi for ${purse.pulls} pulls, storage, traffic and proofs;`,
  )
  stage.say(`       receipts, signed reads and acks come to ${purse.supported}. Forged: 0.`)
  const proofs = lines.find(({ event }) => event === 'proofs')
  check(Number(proofs?.answered) > 0 && proofs?.failed === 0, 'the relay to prove what it holds')
  stage.say(`       It proved that it holds ${proofs?.answered} of her records, picked by chance.`)
}

async function expose(stage: Stage, { alice, bob, carol, relay, cheat }: Scene): Promise<void> {
  stage.title('The relay begins to cheat')
  await cheat.begin(join(stage.folder, relay.name, 'relay.key'), egressGB)
  await stage.run(alice, 'send', 'Bob', '--text', 'One more.')
  await stage.run(bob, 'pull')
  stage.say('It bills the last pull twice, and signs a report in which everything adds up.')
  const file = join(stage.folder, 'evidence.json')
  const { code, lines } = await stage.tryRun(alice, 'audit', '--evidence', file)
  check(code === 7, 'the forgery to be noticed')
  const finding = lines.find(({ event, kind }) => event === 'finding' && kind === 'read-twice')
  check(finding?.isProvable === true, 'the forgery to be named and provable')
  const purse = purseOf(lines)
  check(Number(purse.claimed) > Number(purse.toPay), 'less to be paid than is claimed')
  stage.say('Alice  $ relay audit --evidence evidence.json    → exit code 7')
  stage.say(`       forged: ${String(finding?.kind)}: ${shortened(finding?.sentence)}`)
  stage.say(`       claimed ${purse.claimed}, supported ${purse.supported}: to pay ${purse.toPay} satoshi`)

  stage.title('Carol, who knows neither, checks the file')
  await stage.killRelay(relay)
  cheat.close()
  const claims = (await stage.run(carol, 'audit', 'verify', file)).filter(({ event }) => event === 'claim')
  const proven = claims.filter(({ outcome }) => outcome === 'proven')
  check(
    proven.some(({ kind }) => kind === 'read-twice'),
    'Carol to be convinced',
  )
  stage.say('The relay is gone; Carol is offline and has no identity.')
  stage.say('Carol  $ relay audit verify evidence.json        → exit code 0')
  for (const { kind, why } of proven) stage.say(`       proven: ${String(kind)}: ${shortened(why)}`)
}

function purseOf(lines: readonly Line[]) {
  const found = lines.find(({ event }) => event === 'purse')
  check(found !== undefined, 'a purse to be audited')
  return found as Line & { forged: { satoshis: unknown } }
}

/** Keys and hashes are long; their beginning tells them apart here. */
const shortened = (text: unknown): string => String(text).replaceAll(/\b([0-9a-f]{8})[0-9a-f]{24,}/g, '$1…')
