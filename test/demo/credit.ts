/** The operator's story: a relay that sells, a user who runs dry and is granted more, and books that explain every satoshi. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { befriend, settle, textsOf } from './friends.ts'
import { check, type Line, type Person, type RelayServer, short, type Stage } from './stage.ts'

/** Dear, so that a text costs whole satoshi and the figures can be followed. */
const prices = ['storageGBDay=4000000', 'egressGB=20000000']
const granted = 300

export async function credit(stage: Stage): Promise<void> {
  stage.title('A relay that sells')
  const options = prices.flatMap((price) => ['--price', price])
  const relay = await stage.startRelay('relay-1', { options })
  const free = await stage.startRelay('bobs-relay')
  const [alice, bob] = await Promise.all([settle(stage, 'Alice', relay), settle(stage, 'Bob', free)])
  await befriend(stage, alice, bob)
  await befriend(stage, bob, alice)
  const key = await keyOf(alice)

  await stranger(stage, { alice, key })
  const sent = await untilDry(stage, { alice, bob })
  await more(stage, { alice, bob, key, sent })
  await newPrices(stage, { alice, bob, key })
  await books(stage, { relay, key })
  stage.title(`Done in ${stage.seconds.toFixed(1)} s`)
}

async function stranger(stage: Stage, { alice, key }: { alice: Person; key: string }): Promise<void> {
  stage.title('Without credit')
  const { code, errors } = await stage.tryRun(alice, 'send', 'Bob', '--text', 'Hello?')
  check(code === 6, 'a stranger to be told that payment is needed')
  stage.say("Alice     $ relay send Bob --text 'Hello?'      → exit code 6:")
  stage.say(`          ${sentence(errors)}`)
  await stage.operate('relay-1', 'grant', key, String(granted), '--id', 'welcome-1')
  await stage.operate('relay-1', 'grant', key, String(granted), '--id', 'welcome-1')
  stage.say(`Operator  $ relayd grant ${short(key)} ${granted} --id welcome-1   (twice: an id is given once)`)
  const purse = await purseOf(stage, alice)
  check(purse.available === String(granted), 'the grant to be there once')
  stage.say(`Alice     $ relay account      → ${purse.available} satoshi available`)
}

async function untilDry(stage: Stage, { alice, bob }: { alice: Person; bob: Person }): Promise<number> {
  stage.title('Metered')
  for (let sent = 0; ; sent++) {
    const { code, lines, errors } = await stage.tryRun(alice, 'send', 'Bob', '--text', `Text ${sent + 1}`)
    if (code === 0) {
      const { quoted, reserved } = lines[0]!
      stage.say(
        `Alice     $ relay send Bob --text 'Text ${sent + 1}'  → at most ${total(quoted)}, reserved ${total(reserved)} satoshi`,
      )
      continue
    }
    check(code === 6 && sent > 0, 'Alice to run dry after some texts')
    const heard = textsOf(await stage.run(bob, 'pull')).length
    check(heard === sent, 'Bob to have what was accepted')
    stage.say(`Bob       $ relay pull         → ${heard} texts, each pull paid by Alice`)
    stage.say('Alice sends once more and is refused; nothing she sent before is touched:')
    stage.say(`          ${sentence(errors)}`)
    return sent
  }
}

async function more(
  stage: Stage,
  { alice, bob, key, sent }: { alice: Person; bob: Person; key: string; sent: number },
): Promise<void> {
  stage.title('Granted more')
  await stage.operate('relay-1', 'grant', key, '500', '--id', 'invoice-2')
  await stage.run(alice, 'send', 'Bob', '--text', 'I am back.', '--max-cost', '150')
  const tooDear = await stage.tryRun(
    alice,
    'send',
    'Bob',
    '--text',
    'Too dear',
    '--ttl',
    '300d',
    '--max-cost',
    '150',
  )
  check(tooDear.code === 6, '--max-cost to hold')
  stage.say("Alice     $ relay send Bob --text 'I am back.' --max-cost 150    → sent")
  stage.say('Alice     $ relay send Bob --ttl 300d … --max-cost 150           → not sent:')
  stage.say(`          ${sentence(tooDear.errors)}`)
  check(textsOf(await stage.run(bob, 'pull')).includes('I am back.'), 'Bob to hear her again')
  check(sent > 0, 'texts before')
}

async function newPrices(
  stage: Stage,
  { alice, bob, key }: { alice: Person; bob: Person; key: string },
): Promise<void> {
  stage.title('Cheaper from now on')
  await stage.operate('relay-1', 'price', 'set', 'storageGBDay=1000000', 'egressGB=1000000')
  const [line] = await stage.run(alice, 'send', 'Bob', '--text', 'Same text, new price')
  await stage.run(bob, 'pull')
  stage.say('Operator  $ relayd price set storageGBDay=1000000 egressGB=1000000')
  stage.say(`Alice’s next text reserves ${total(line?.reserved)} satoshi; what is stored keeps its price.`)
  const [account] = await stage.operate('relay-1', 'accounts', 'show', key, '--json')
  check((JSON.parse(account!) as { purses: unknown[] }).purses.length === 1, 'one purse')
}

async function books(stage: Stage, { relay, key }: { relay: RelayServer; key: string }): Promise<void> {
  stage.title('Every satoshi explained')
  stage.say(
    'What a purse holds is rounded once, for all its records together, and a receipt rounds its own record up:',
  )
  stage.say('so an entry of the ledger may reserve a satoshi less than the receipt of the same text said.')
  const story = await stage.operate('relay-1', 'ledger', 'explain', key, '--human')
  for (const line of story.slice(0, 6)) stage.say(line)
  if (story.length > 9) stage.say(`… ${story.length - 9} more sentences …`)
  for (const line of story.slice(-3)) stage.say(line)
  stage.say('Operator  $ relayd backup copy      (while serving)')
  await stage.operate('relay-1', 'backup', join(stage.folder, 'copy'))
  await stage.killRelay(relay)
  await stage.operate('relay-2', 'restore', join(stage.folder, 'copy'))
  stage.say('The relay’s machine is lost; $ relayd restore copy --data relay-2')
  for (const name of ['relay-1', 'relay-2']) {
    const [line] = await stage.operate(name, 'ledger', 'check', '--json')
    const report = JSON.parse(line!) as {
      ok: boolean
      received: number
      earned: number
      reserved: number
      available: number
    }
    check(
      report.ok && report.received === report.earned + report.reserved + report.available,
      'the books to agree',
    )
    stage.say(
      `$ relayd ledger check --data ${name}   → no difference: ${report.received} received = ` +
        `${report.earned} earned + ${report.reserved} reserved + ${report.available} available`,
    )
  }
}

async function keyOf({ home }: Person): Promise<string> {
  return (JSON.parse(await readFile(join(home, 'key.json'), 'utf8')) as { identity: string }).identity
}

async function purseOf(stage: Stage, person: Person): Promise<Line> {
  const lines = await stage.run(person, 'account')
  return lines.find((line) => 'available' in line) ?? {}
}

/** What a command said on stderr, less its form. */
function sentence(errors: string): string {
  const last = errors.trim().split('\n').at(-1) ?? ''
  return last.startsWith('{') ? String((JSON.parse(last) as { error: unknown }).error) : last
}

const total = (cost: unknown): string => String((cost as { total?: unknown } | undefined)?.total ?? cost)
