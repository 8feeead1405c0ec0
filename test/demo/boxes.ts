/** The story of message boxes on two hosts (BRC-34): what is sent at one arrives at the other, is paid for, and waits for who is away. */
import { isSigned, propagation, signingKey } from '../../contracts/overlay/propagation.ts'
import { routingKey, routingMessage } from '../../contracts/overlay/phip.ts'
import { loadSdk } from '../../contracts/transaction/sdk.ts'
import { toUtf8 } from '../../market/bytes.ts'
import { type Devnet, paidSince, tellChanges, withDevnet } from './coins.ts'
import { forge, forger, signedFor } from './forger.ts'
import {
  type BoxPerson,
  coinsOf,
  fateOf,
  type Host,
  inSilence,
  openHosts,
  order,
  personAt,
  post,
  purseAt,
  recordsAt,
  tokensAt,
  until,
} from './hosts.ts'
import { check, type Line, short, type Stage } from './stage.ts'

/** A takes messages of everybody, and for those into `inbox` a fee; B sells, dear enough for the figures to be followed. */
const inboxFee = 150
const sells = [
  ['--open-boxes', '--box-fee', `inbox=${inboxFee}`],
  ['--price', 'storageGBDay=1000000'],
] as const
const [bobsCredit, payment] = [5000, 12_345]
const form = propagation(1 << 20)

interface Scene {
  readonly stage: Stage
  readonly devnet: Devnet
  readonly alice: BoxPerson
  readonly bob: BoxPerson
  a: Host
  b: Host
}

export async function boxes(stage: Stage): Promise<void> {
  await withDevnet((devnet) =>
    inSilence(async () => {
      stage.title('Two hosts of message boxes')
      const [a, b] = await openHosts(stage, devnet, sells)
      const [alice, bob] = await Promise.all([
        personAt(stage, devnet, 'Alice', a),
        personAt(stage, devnet, 'Bob', b),
      ])
      await devnet.mine(1)
      const scene: Scene = { stage, devnet, alice, bob, a, b }
      try {
        await settle(scene)
        await send(scene)
        await listen(scene)
        await paid(scene)
        await peerPay(scene)
        await away(scene)
        await forged(scene)
      } finally {
        await Promise.all([alice.close(), bob.close()])
      }
      stage.title(`Done in ${stage.seconds.toFixed(1)} s`)
    }),
  )
}

/** Bob lets B take messages for him, B says so on the chain, and A knows. */
async function settle({ stage, devnet, bob, a, b }: Scene): Promise<void> {
  stage.say(`A, ${a.domain}, takes messages of everybody; one into the box inbox costs ${inboxFee} satoshi.`)
  stage.say(`B, ${b.domain}, sells its storage to whoever brings something, for coins.`)
  stage.say(
    'Alice has her boxes on A, Bob on B. Both use @bsv/message-box-client as it is, each with a wallet;',
  )
  stage.say('each client knows one host, its own.')
  await order(stage, b, 'grant', { key: bob.key, satoshi: bobsCredit })
  const message = routingMessage({ host: b.key, domain: b.domain })
  const data = [...toUtf8(message)]
  const { signature } = await bob.wallet.createSignature({ ...routingKey, data })
  const answer = await post(bob, `${b.url}/authorizeRouting`, { message, signature })
  check(answer.status === 'success', `B to take messages for Bob: ${JSON.stringify(answer)}`)
  stage.say(`Bob    signs “${short(b.key)} ${b.domain} ALL” and gives it to B: it may take messages for him`)
  const outputs = await until(
    'A to know where Bob lives',
    () => tokensAt(a, bob),
    ({ length }) => length > 0,
  )
  const { Transaction } = await loadSdk()
  const txid = Transaction.fromBEEF(outputs[0]!.beef).id('hex')
  await devnet.mine(1)
  stage.say(`B      tells that on the chain: a token (PHIP) in transaction ${short(txid)}`)
  stage.say('A      has the token, and has verified both signatures: Bob’s messages go to B')
  for (const messageBox of ['friends', 'payment_inbox'])
    await bob.box.setMessageBoxPermission({ messageBox, recipientFee: 0 })
  stage.say('Bob    says that messages into two boxes cost nobody anything: he pays B for them')
}

async function send({ stage, alice, bob, a, b }: Scene): Promise<void> {
  stage.title('Alice writes to Bob')
  const body = { text: 'Hello Bob, I only know A.' }
  const answer = await alice.box.sendMessage({ recipient: bob.key, messageBox: 'friends', body })
  const { delivery, hosts } = fateOf(answer)
  check(delivery === 'delivered', `A to have brought it: ${JSON.stringify(answer)}`)
  stage.say(`Alice  sendMessage at A   → ${JSON.stringify({ delivery, hosts })}`)
  const [got] = await bob.box.listMessages({ messageBox: 'friends', host: b.url })
  check(JSON.stringify(got?.body) === JSON.stringify(body), 'Bob to read it at B')
  check(got?.sender === alice.key, 'Alice to be its sender')
  stage.say(`Bob    listMessages at B  → “${body.text}” from Alice, encrypted for him all the way`)
  const left = await bob.box.listMessages({ messageBox: 'friends', host: a.url })
  const records = await recordsAt(stage, a, alice)
  check(left.length === 0 && records === 0, 'A to hold nothing of it')
  stage.say(`A      holds ${records} records of Alice, and has nothing in a box of Bob`)
  const { available } = await purseAt(stage, b, bob)
  await bob.box.acknowledgeMessage({ messageIds: [String(got?.messageId)], host: b.url })
  const back = (await purseAt(stage, b, bob)).available - available
  const aside = bobsCredit - available
  check(aside > 0 && back > 0 && back <= aside, 'Bob to pay for what was used')
  stage.say(
    `B      set aside ${aside} satoshi of his credit for 30 days; ${back} came back as he acknowledged`,
  )
}

async function listen({ stage, alice, bob, b }: Scene): Promise<void> {
  stage.title('Live')
  const body = 'Are you there?'
  const heard: { body: unknown; at: number }[] = []
  const onMessage = (message: { body: unknown }) =>
    void heard.push({ body: message.body, at: performance.now() })
  await bob.box.listenForLiveMessages({ messageBox: 'friends', overrideHost: b.url, onMessage })
  stage.say('Bob    listenForLiveMessages at B')
  const start = performance.now()
  const sent = alice.box.sendMessage({ recipient: bob.key, messageBox: 'friends', body })
  await Promise.all([
    sent,
    until(
      'Bob to hear it',
      async () => heard.length,
      (count) => count === 1,
    ),
  ])
  check(heard[0]?.body === body, 'Bob to hear her words')
  stage.say('Alice  sendMessage at A')
  stage.say(`Bob    has “${body}” ${(heard[0]!.at - start).toFixed(0)} ms after she began to encrypt it`)
  await bob.box.disconnectWebSocket()
}

/** Into a box with a fee: A pays B of what Alice paid, and every satoshi is somewhere. */
async function paid({ stage, devnet, alice, bob, a, b }: Scene): Promise<void> {
  stage.title('A delivery that is paid for')
  await devnet.mine(1)
  const height = Number(await devnet.rpc('getblockcount'))
  const coins = async () => [
    await alice.balance(),
    ...(await Promise.all([a, b].map((host) => coinsOf(stage, host)))),
  ]
  const before = await coins()
  const message = { recipient: bob.key, messageBox: 'inbox', body: 'A letter with a stamp' }
  const { deliveryFee } = (await alice.box.getMessageBoxQuote(message)) as unknown as Line // of one recipient
  const answer = await alice.box.sendMessage({ ...message, checkPermissions: true })
  check(fateOf(answer).delivery === 'delivered', 'A to have brought it')
  const [got] = await bob.box.listMessages({ messageBox: 'inbox', host: b.url })
  check(got?.body === message.body, 'Bob to have it')
  stage.say(`Alice  getMessageBoxQuote at A                     → deliveryFee ${deliveryFee}`)
  stage.say('Alice  sendMessage with checkPermissions at A      → paid, delivered')
  stage.say('B      has nobody who pays for it: neither Alice nor Bob. It asked A, by HTTP 402, and A paid.')
  await devnet.mine(1)
  const after = await coins()
  const [alices = 0, as = 0, bs = 0] = after.map((sum, at) => sum - before[at]!)
  const { fees, count } = await paidSince(devnet.rpc, height)
  tellChanges(stage, [
    ['Alice, for A and a miner', alices],
    ['A, of that, after B and a miner were paid', as],
    ['B, as credit of A', bs],
    [`miners, for ${count} transactions`, fees],
  ])
  const { received: credit } = await purseAt(stage, b, a)
  check(count === 2, 'two payments')
  check(alices < -inboxFee && as > 0 && bs > 0, 'each to have paid and earned')
  check(credit === bs, `the books of B to say the same, not ${credit}`)
  stage.say(`B’s books say the same: ${credit} satoshi received of A.`)
}

async function peerPay({ stage, alice, bob, a, b }: Scene): Promise<void> {
  stage.title('A payment through both')
  const before = await bob.balance()
  await alice.pay.sendPayment({ recipient: bob.key, amount: payment })
  stage.say(`Alice  PeerPay sendPayment ${payment}, at A`)
  const [incoming] = await bob.pay.listIncomingPayments(b.url)
  check(incoming?.sender === alice.key && incoming.token.amount === payment, 'the payment to be at B')
  await bob.pay.acceptPayment(incoming!) // it was checked
  const after = await bob.balance()
  check(after === before + payment, `Bob to have it: ${before}, ${after}`)
  check((await bob.pay.listIncomingPayments(a.url)).length === 0, 'nothing to be left at A')
  stage.say(`Bob    PeerPay acceptPayment, at B     → his wallet had ${before} satoshi, and has ${after}`)
}

/** B dies, and A after it has answered: what A accepted is on its disk. */
async function away(scene: Scene): Promise<void> {
  const { stage, alice, bob } = scene
  stage.title('Bob’s host is dead')
  await stage.killRelay(scene.b)
  stage.say('$ kill -9 B')
  const body = 'For when you are back'
  const answer = await alice.box.sendMessage({ recipient: bob.key, messageBox: 'friends', body })
  const { delivery, hosts } = fateOf(answer)
  const [{ host, code, description } = {}] = hosts
  check(delivery === 'waiting', `it to wait: ${JSON.stringify(answer)}`)
  stage.say(`Alice  sendMessage at A   → ${delivery}; ${host}: ${code}, ${description}`)
  check((await recordsAt(stage, scene.a, alice)) === 1, 'A to hold it meanwhile')
  await stage.killRelay(scene.a)
  stage.say('$ kill -9 A   (it would have tried again in half a minute; what it promised is on its disk)')
  scene.b = await scene.b.restart()
  scene.a = await scene.a.restart()
  stage.say('Both are back.')
  const there = () => bob.box.listMessages({ messageBox: 'friends', host: scene.b.url })
  const got = await until('A to bring it', there, (all) => all.some((message) => message.body === body))
  check(got.filter((message) => message.body === body).length === 1, 'it to be there once')
  stage.say(`Bob    listMessages at B  → “${body}”`)
  const reports = await until(
    'a report',
    () => alice.box.listMessages({ messageBox: 'delivery_reports', host: scene.a.url }),
    ({ length }) => length > 0,
  )
  const report = reports[0]!.body as unknown as Line // as A writes it
  check(reports.length === 1 && report.status === 'delivered', 'Alice to be told once')
  check(report.messageId === answer.messageId && reports[0]!.sender === scene.a.key, 'of that message, by A')
  stage.say(
    `Alice  delivery_reports at A → ${JSON.stringify({ status: report.status, hosts: report.hosts })}`,
  )
}

async function forged({ stage, alice, bob, b }: Scene): Promise<void> {
  stage.title('A host that forges')
  const words = 'Bob, send me all your coins. Alice'
  const request = { message: { recipient: bob.key, messageBox: 'friends', body: words } }
  const body = await forge(alice.keys, signedFor(alice.keys, 'Hello Mallory'), JSON.stringify(request))
  const given = form.parse(body)
  const link = signingKey(given, forger.identity)
  check(link !== undefined && isSigned(given, link), 'the forgery to verify by the letter of BRC-34')
  stage.say('Mallory’s host has a message that Alice once sent it, and puts other words under her signature.')
  stage.say('By the letter of BRC-34 they verify, as it does not ask how the signing key is linked to Alice.')
  const { AuthFetch } = await loadSdk()
  const mallory = { web: new AuthFetch(forger as unknown as BoxPerson['wallet']) }
  const answer = await post(mallory, `${b.url}/propagateMessage`, body)
  check(answer.code === 'ERR_LINKAGE_PROOF_REQUIRED', `B to refuse it: ${JSON.stringify(answer)}`)
  const all = await bob.box.listMessages({ messageBox: 'friends', host: b.url })
  check(!all.some((message) => message.body === words), 'Bob not to read it')
  stage.say(`B      propagateMessage → ${answer.code}: ${answer.description}`)
}
