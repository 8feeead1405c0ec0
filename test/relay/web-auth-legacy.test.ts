/** Authrite (BRC-31), version 0.2 as its last client speaks it. */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { openWebServer, shakeHands, type WebServer } from '../fixtures/web-auth.ts'

const protocolID: [2, string] = [2, 'authrite message signature']
const publicUrl = 'https://relay.example/prefix'
const newNonce = () => randomBytes(32).toString('base64')
const bytes = (text: string) => [...Buffer.from(text)]
const fromHex = (hex: string | null) => [...Buffer.from(hex ?? '', 'hex')]

const initialRequest = (identityKey: string, nonce: string) => ({
  authrite: '0.2',
  messageType: 'initialRequest',
  identityKey,
  nonce,
  requestedCertificates: [],
})

const post = (url: string, message: unknown) =>
  fetch(`${url}/authrite/initialRequest`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(message),
  })

async function open(t: Parameters<typeof openWebServer>[0]) {
  const server = await openWebServer(t, { legacy: { publicUrl } })
  const wallet = KeyWallet.random()
  const nonce = newNonce()
  const message = (await (await post(server.url, initialRequest(wallet.identity, nonce))).json()) as any
  return { server, wallet, nonce, message }
}

type Asked = { method?: string; path: string; body?: string; signed?: string }

async function ask(
  { server, wallet, nonce, message }: Awaited<ReturnType<typeof open>>,
  { method = 'GET', path, body, signed = body ?? `${publicUrl}${path}` }: Asked,
) {
  const requestNonce = newNonce()
  const keyID = `${requestNonce} ${message.nonce}`
  const counterparty = server.wallet.identity
  const { signature } = await wallet.createSignature({ data: bytes(signed), protocolID, keyID, counterparty })
  const headers = {
    ...(body !== undefined && { 'content-type': 'application/json' }),
    'x-authrite': '0.2',
    'x-authrite-identity-key': wallet.identity,
    'x-authrite-nonce': requestNonce,
    'x-authrite-initialnonce': nonce,
    'x-authrite-yournonce': message.nonce,
    'x-authrite-certificates': '[]',
    'x-authrite-signature': Buffer.from(signature).toString('hex'),
  }
  const again = () => fetch(`${server.url}${path}`, { method, headers, ...(body !== undefined && { body }) })
  const response = await again()
  const text = await response.text()
  const proof = response.headers.get('x-authrite-signature')
  const proved =
    proof !== null &&
    (await wallet.verifySignature({
      data: bytes(text),
      protocolID,
      keyID: `${nonce} ${response.headers.get('x-authrite-nonce')}`,
      counterparty,
      signature: fromHex(proof),
    }))
  return { status: response.status, text, proved: proved !== false, again }
}

t.test('both sides prove themselves, by bodies, or by the URL where there is none', async (t) => {
  const session = await open(t)
  const { server, wallet, nonce, message } = session
  t.match(message, { authrite: '0.2', messageType: 'initialResponse', identityKey: server.wallet.identity })
  const keyID = `${nonce} ${message.nonce}`
  const counterparty = server.wallet.identity
  const signature = fromHex(message.signature)
  await wallet.verifySignature({
    data: bytes(nonce + message.nonce),
    protocolID,
    keyID,
    counterparty,
    signature,
  })

  const who = await ask(session, { path: '/who' })
  t.match(who, { status: 200, text: JSON.stringify({ identity: wallet.identity }), proved: true })
  t.match(await ask(session, { path: '/query?a=%20' }), { status: 200, text: '{"a":" "}', proved: true })
  t.match(await ask(session, { method: 'POST', path: '/echo', body: '{"a":"é"}' }), {
    text: '{"a":"é"}',
    proved: true,
  })
  t.match(await ask(session, { path: '/nowhere' }), { status: 404, proved: true })
  t.match(await ask(session, { path: '/no-content' }), { status: 204, text: '', proved: true })
})

t.test('what is not signed, or signed before, is refused', async (t) => {
  const session = await open(t)
  const cases: [string, Asked, number][] = [
    ['another URL', { path: '/who', signed: `${publicUrl}/private` }, 401],
    ['another body', { method: 'POST', path: '/echo', body: '{}', signed: '{"a":1}' }, 401],
    ['a change that only its URL is signed of', { method: 'DELETE', path: '/echo' }, 400],
  ]

  for (const [name, asked, status] of cases)
    t.match(await ask(session, asked), { status, proved: false }, name)
  const { again, status } = await ask(session, { path: '/who' })
  t.equal(status, 200)
  t.equal((await again()).status, 401)
})

t.test('malformed beginnings are refused, and our own key', async (t) => {
  const { server } = await open(t)
  const good = initialRequest(KeyWallet.random().identity, newNonce())
  const cases: [string, unknown, number][] = [
    ['another version', { ...good, authrite: '0.1' }, 400],
    ['no nonce', { ...good, nonce: undefined }, 400],
    ['no key', { ...good, identityKey: 'x' }, 400],
    ['a key off the curve', { ...good, identityKey: `02${'f'.repeat(64)}` }, 400],
    ['no object', null, 400],
    ['the key of the relay', { ...good, identityKey: server.wallet.identity }, 403],
  ]

  for (const [name, message, status] of cases) t.equal((await post(server.url, message)).status, status, name)
  t.same(server.auth.held(), { sessions: 1, nonces: 0 })
})

t.test(
  'a session of the one protocol is none of the other, and without the option there is none',
  async (t) => {
    const session = await open(t)
    const { yourNonce } = await shakeHands(session.server.url, session.wallet)
    const crossed = { ...session, message: { ...session.message, nonce: yourNonce } }
    t.match(await ask(crossed, { path: '/who' }), { status: 401, proved: false })

    const without: WebServer = await openWebServer(t)
    const { status } = await post(without.url, initialRequest(session.wallet.identity, newNonce()))
    t.equal(status, 404)
    t.match(await ask({ ...session, server: without }, { path: '/who' }), {
      text: '{"identity":null}',
      proved: false,
    })
  },
)
