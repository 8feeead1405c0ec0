/** Message boxes over HTTP: their dialects, their limits, and what a record store knows of them. */
import t, { type Test } from 'tap'
import { boxCodes } from '../../relay/boxes/codes.ts'
import { boxUser, told } from '../fixtures/boxes.ts'
import { storeDirectory } from '../../relay/data-directory.ts'
import { sha256 } from '../../market/hash.ts'
import { idsPrefix, listPrefix } from '../../relay/store/box-rows.ts'
import { boxKey, placeKey } from '../../relay/store/keys.ts'
import { Store } from '../../relay/store/store.ts'
import { openRelay, startTestRelay } from '../fixtures/relay.ts'
import { keysOf } from '../fixtures/wallet.ts'
import { askSigned } from '../fixtures/wire.ts'
import { recordFor, wireClient } from '../fixtures/web-files.ts'

const refused = (t: Test, answer: { status: number; body: any }, code: string, facts: object = {}) => {
  t.match(answer.body, { status: 'error', code, ...facts }, code)
  t.equal(answer.status, (boxCodes as Record<string, number>)[code] ?? answer.status)
  t.type(answer.body.description, 'string')
}

t.test('a message is sent, listed and acknowledged, in every dialect', async (t) => {
  const relay = await openRelay(t, ['--open-boxes'])
  const [alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map((name) => boxUser(relay, name)))
  if (!alice || !bob || !carol) throw new Error('nobody')

  const sent = await alice.send(bob, { messageId: 'one' })
  t.match(sent.body, {
    status: 'success',
    messageId: 'one',
    message: `Your message has been sent to ${bob.key}`,
    results: [{ recipient: bob.key, messageId: 'one' }],
  })
  const again = await alice.send(bob, { messageId: 'one' })
  t.match(again.body, { status: 'success', messageId: 'one' })
  refused(t, await alice.send(bob, { messageId: 'one', body: 'other' }), 'ERR_DUPLICATE_MESSAGE')
  t.equal(
    (await carol.send(bob, { messageId: 'one', body: { from: 'carol' } })).status,
    200,
    'ids are per sender',
  )
  t.equal((await alice.send(bob, { messageId: 'one', messageBox: 'a-b-c' })).status, 200, 'and per box')
  const named = await alice.send(bob, { messageId: undefined })
  t.match(named.body.messageId, /^[0-9a-f]{32}$/, 'BRC-33 leaves names to the server')
  t.equal((await alice.send(bob, { messageId: 7, body: 'é\u2028"\\' })).body.messageId, '7')
  t.equal((await alice.send({ key: bob.key.toUpperCase() }, { messageId: 'upper' })).status, 200)

  const listed = await bob.list()
  t.same(told(listed), [
    'one "hello"',
    'one {"from":"carol"}',
    `${named.body.messageId} "hello"`,
    `7 ${JSON.stringify('é\u2028"\\')}`,
    'upper "hello"',
  ])
  const [first] = listed.body.messages
  t.equal(first.sender, alice.key)
  t.equal(first.created_at, first.createdAt)
  t.equal(first.createdAt, new Date(relay.now()).toISOString())
  t.equal(first.updated_at, first.updatedAt)
  t.match(listed.body, { limit: 1000, offset: 0, nextOffset: null, hasMore: false })
  t.same((await alice.list()).body.messages, [], 'only the recipient sees them')

  const page = await bob.list('inbox', { limit: 2, offset: 1 })
  t.equal(told(page).length, 2)
  t.match(page.body, { limit: 2, offset: 1, nextOffset: 3, hasMore: true })
  t.equal(told(await bob.list('inbox', { limit: 2, offset: 3 })).length, 2)

  t.same((await alice.ack('one')).body, { status: 'success', acknowledged: 0 }, 'what is of others stays')
  t.same((await bob.ack('one', 7)).body, { status: 'success', acknowledged: 4 }, 'in all boxes')
  t.same((await bob.ack('one', '7')).body, { status: 'success', acknowledged: 0 })
  t.equal(told(await bob.list()).length, 2)
  t.equal(
    (await alice.send(bob, { messageId: 'one', body: 'once more' })).status,
    200,
    'the name is free again',
  )
  relay.clock.ms += 30 * 86_400_000
  t.same(told(await (await boxUser(relay, 'bob')).list()), [], 'after thirty days they are gone')
  const later = await boxUser(relay, 'alice')
  t.equal((await later.send(bob, { messageId: 'one', body: 'anew' })).status, 200)
})

t.test('several recipients get a message together, or none', async (t) => {
  const relay = await openRelay(t, ['--open-boxes', '--limit', 'boxRecipients=3', '--limit', 'boxMessages=3'])
  const alice = await boxUser(relay, 'alice')
  const others = await Promise.all(['b', 'c', 'd', 'e'].map((name) => boxUser(relay, name)))
  const [bob, carol] = others
  if (!bob || !carol) throw new Error('nobody')
  const recipients = [bob.key, carol.key]
  const many = (fields: object) => alice.send(undefined, { recipients, ...fields })
  const { body } = await many({ messageId: ['x', 'y'] })
  t.same(body.results, [
    { recipient: bob.key, messageId: 'x' },
    { recipient: carol.key, messageId: 'y' },
  ])
  t.same(told(await carol.list()), ['y "hello"'])
  refused(t, await many({ messageId: ['x'] }), 'ERR_MESSAGEID_COUNT_MISMATCH')
  refused(t, await many({ recipients: others.map(({ key }) => key) }), 'ERR_TOO_MANY_RECIPIENTS', {
    limit: 3,
  })
  refused(t, await many({ recipients: [bob.key, bob.key], messageId: ['1', '2'] }), 'ERR_DUPLICATE_RECIPIENT')
  await alice.send(bob, { messageId: '3' })
  await alice.send(bob, { messageId: '4' })
  refused(t, await many({ messageId: ['5', '6'] }), 'ERR_INBOX_QUOTA_EXCEEDED', {
    resource: 'messages',
    limit: 3,
    recipient: bob.key,
  })
  t.same(told(await carol.list()), ['y "hello"'], 'the other has not got it either')
  await bob.ack('x')
  t.equal((await many({ messageId: ['5', '6'] })).status, 200, 'there is room again')
})

t.test('every request is checked in the order that clients know', async (t) => {
  const limits = ['boxBodyBytes=100', 'boxSentBytes=1000', 'bodyBytes=2000000', 'boxListedBytesPerDay=4000']
  const relay = await openRelay(t, ['--open-boxes', ...limits.flatMap((limit) => ['--limit', limit])])
  const alice = await boxUser(relay, 'alice')
  const bob = await boxUser(relay, 'bob')
  const is = async (code: string, path: string, body: unknown, facts = {}) =>
    refused(t, await alice.post(path, body), code, facts)
  const send = (code: string, message: unknown, facts = {}) => is(code, '/sendMessage', { message }, facts)

  await is('ERR_MALFORMED', '/sendMessage', '{')
  await is('ERR_MESSAGE_REQUIRED', '/sendMessage', '[]')
  await send('ERR_MESSAGE_REQUIRED', 'text')
  await send('ERR_INVALID_MESSAGEBOX', {})
  await send('ERR_INVALID_MESSAGEBOX', { messageBox: 'a\u0000b' })
  await send('ERR_MESSAGEBOX_TOO_LARGE', { messageBox: 'é'.repeat(65) })
  const box = { messageBox: 'inbox' }
  await send('ERR_INVALID_MESSAGE_BODY', box)
  await send('ERR_INVALID_MESSAGE_BODY', { ...box, body: ' ' })
  await send('ERR_INVALID_MESSAGE_BODY', { ...box, body: 7 })
  await send('ERR_MESSAGE_BODY_TOO_LARGE', { ...box, body: 'a'.repeat(101) }, { limit: 100 })
  const body = { ...box, body: 'a'.repeat(100) }
  await send('ERR_RECIPIENT_REQUIRED', body)
  await send('ERR_RECIPIENT_REQUIRED', { ...body, recipients: [] })
  const given = { ...body, recipient: 'nobody' }
  await send('ERR_MESSAGEID_REQUIRED', { ...given, messageId: '' })
  await send('ERR_MESSAGEID_COUNT_MISMATCH', { ...given, messageId: ['1', '2'] })
  await send('ERR_INVALID_MESSAGEID', { ...given, messageId: {} })
  await send('ERR_INVALID_MESSAGEID', { ...given, messageId: 'a'.repeat(257) })
  await send('ERR_INVALID_RECIPIENT_KEY', given)
  await send('ERR_INVALID_RECIPIENT_KEY', { ...given, recipient: `02${'0'.repeat(64)}` })
  // Refused before it is read, and so before it is known whose it is.
  await t.rejects(alice.post('/sendMessage', 'a'.repeat(2_000_001)), /ERR_MESSAGE_BODY_TOO_LARGE/)
  await alice.send(bob, { messageId: '1', body: 'a'.repeat(100) })
  refused(t, await alice.send(bob, { messageId: '2' }), 'ERR_SENDER_QUOTA_EXCEEDED', { resource: 'bytes' })

  await is('ERR_MESSAGEBOX_REQUIRED', '/listMessages', {})
  await is('ERR_INVALID_MESSAGEBOX', '/listMessages', { messageBox: 7 })
  await is('ERR_INVALID_LIMIT', '/listMessages', { ...box, limit: 1001 })
  await is('ERR_INVALID_OFFSET', '/listMessages', { ...box, offset: -1 })
  await is('ERR_MESSAGE_ID_REQUIRED', '/acknowledgeMessage', {})
  await is('ERR_MESSAGE_ID_REQUIRED', '/acknowledgeMessage', { messageIds: [] })
  await is('ERR_INVALID_MESSAGE_ID', '/acknowledgeMessage', { messageIds: 'one' })
  await is('ERR_INVALID_MESSAGE_ID', '/acknowledgeMessage', { messageIds: [''] })
  const thousand = Array.from({ length: 1001 }, (_, at) => at)
  await is('ERR_INVALID_ACKNOWLEDGMENT', '/acknowledgeMessage', { messageIds: thousand })

  for (let times = 0; times < 10; times++) await bob.list()
  t.match(
    (await bob.list()).body,
    { code: 'ERR_LIMIT', limit: 4000 },
    'listing again and again has its bound',
  )
  relay.clock.ms += 86_400_000
  t.equal(told(await (await boxUser(relay, 'bob')).list()).length, 1)
})

t.test('recipients decide who may send, and for what', async (t) => {
  const relay = await openRelay(t, ['--open-boxes'])
  const [alice, bob] = [await boxUser(relay, 'alice'), await boxUser(relay, 'bob')]
  const set = (recipientFee: unknown, sender?: string, messageBox: unknown = 'inbox') =>
    bob.post('/permissions/set', { messageBox, recipientFee, sender })
  const quote = (query = `recipient=${bob.key}&messageBox=inbox`) => alice.get(`/permissions/quote?${query}`)
  const open = { deliveryFee: 0, recipientFee: 0, status: 'always_allow' }
  const { headers, body } = await quote()
  t.same(body.quote, open)
  t.equal(headers.get('x-bsv-auth-identity-key'), relay.key)
  t.match(body.limits, { bodyBytes: 1 << 20, recipients: 100 })
  t.same((await bob.get(`/permissions/get?recipient=${bob.key}&messageBox=inbox`)).body.permission, null)

  t.equal((await set(-1)).status, 200)
  refused(t, await alice.send(bob, { messageId: '1' }), 'ERR_DELIVERY_BLOCKED', {
    blockedRecipients: [bob.key],
  })
  t.match((await quote()).body.quote, { recipientFee: -1, status: 'blocked' })
  const carol = await boxUser(relay, 'carol')
  const both = await quote(`recipient=${bob.key}&recipient=${carol.key}&messageBox=inbox`)
  t.match(both.body, {
    blockedRecipients: [bob.key],
    totals: { deliveryFees: 0, recipientFees: 0, totalForPayableRecipients: 0 },
    quotesByRecipient: [
      { recipient: bob.key, status: 'blocked', recipientFee: -1 },
      { recipient: carol.key, ...open, messageBox: 'inbox' },
    ],
  })
  t.equal((await set(0, alice.key)).status, 200)
  t.equal((await alice.send(bob, { messageId: '1' })).status, 200, 'what is said of one comes first')
  const got = `/permissions/get?recipient=${bob.key}&messageBox=inbox&sender=${alice.key}`
  t.match((await alice.get(got)).body.permission, {
    ...{ sender: alice.key, status: 'always_allow', recipientFee: 0, recipient_fee: 0 },
    ...{ messageBox: 'inbox', message_box: 'inbox', created_at: String, updatedAt: String },
  })
  refused(t, await carol.get(got), 'ERR_UNAUTHORIZED')
  await set(5, carol.key, 'other')
  const list = async (query = '') => (await bob.get(`/permissions/list${query && `?${query}`}`)).body
  t.equal((await list()).totalCount, 3)
  t.equal((await list('message_box=other')).permissions[0].recipient_fee, 5)
  t.match(await list('messageBox=inbox&limit=1&offset=1'), { totalCount: 2, permissions: { length: 1 } })
  t.same((await alice.get('/permissions/list')).body, { status: 'success', permissions: [], totalCount: 0 })

  refused(t, await set(undefined), 'ERR_INVALID_REQUEST')
  refused(t, await set(1.5), 'ERR_INVALID_FEE_VALUE')
  refused(t, await set(0, 'nobody'), 'ERR_INVALID_PUBLIC_KEY')
  refused(t, await set(0, undefined, ''), 'ERR_INVALID_MESSAGE_BOX')
  refused(t, await bob.get('/permissions/get?recipient=x'), 'ERR_MISSING_PARAMETERS')
  refused(t, await quote('messageBox=inbox'), 'ERR_MISSING_PARAMETERS')
  refused(t, await bob.get('/permissions/list?limit=0'), 'ERR_INVALID_LIMIT')
  refused(t, await bob.get('/permissions/list?offset=x'), 'ERR_INVALID_OFFSET')
  await set(5, alice.key)
  refused(t, await quote(), 'ERR_PAYMENT_UNAVAILABLE')
  const payment = { tx: [1], outputs: [] }
  refused(t, await alice.send(bob, { messageId: '2' }), 'ERR_MISSING_PAYMENT_TX')
  refused(t, await alice.send(bob, { messageId: '2' }, payment), 'ERR_INVALID_PAYMENT', { broadcast: false })
})

t.test('devices are kept', async (t) => {
  const relay = await openRelay(t, ['--open'])
  const bob = await boxUser(relay, 'bob')
  const register = (fields: object) => bob.post('/registerDevice', fields)
  const device = { fcmToken: 'a-token-of-a-phone', deviceId: 'phone', platform: 'ios' }
  t.match((await register(device)).body, { status: 'success', message: String, deviceId: 1 })
  t.equal((await register({ ...device, fcmToken: 'another-token' })).body.deviceId, 1, 'the same phone')
  t.equal((await register({ fcmToken: 'of a tablet' })).body.deviceId, 2)
  t.match((await bob.get('/devices')).body.devices, [
    { id: 1, deviceId: 'phone', platform: 'ios', fcmToken: '...ther-token', active: true },
    { id: 2, deviceId: null, platform: null },
  ])
  refused(t, await register({}), 'ERR_INVALID_FCM_TOKEN')
  refused(t, await register({ ...device, platform: 'toaster' }), 'ERR_INVALID_PLATFORM')
})

t.test('nobody can push: somebody pays who wants to', async (t) => {
  const alice = keysOf('alice')
  const relay = await openRelay(t, ['--price', 'storageGBDay=1000000000', '--price', 'egressGB=1000000000'])
  const grant = (key: string, satoshi: number) => relay.operator.grant({ key, satoshi })
  const [a, b] = [await boxUser(relay, 'alice'), await boxUser(relay, 'bob')]
  const poor = await a.send(b, { messageId: '1' })
  t.match(poor, { status: 402, body: { code: 'ERR_PAYMENT_REQUIRED', satoshisRequired: Number } })
  await grant(b.key, 1_000_000)
  t.equal((await a.send(b, { messageId: '1' })).status, 402, 'he has not said that he pays for strangers')
  await b.post('/permissions/set', { messageBox: 'inbox', recipientFee: 0 })
  t.equal((await a.send(b, { messageId: '1' })).status, 200)
  const accountOf = async (keys: typeof alice) => (await askSigned(relay, keys, { type: 'account' })).result
  const entriesOf = async (keys: typeof alice) =>
    (await accountOf(keys)).entries.map(({ what }: any) => what).filter((what: string) => what !== 'received')
  t.same(await entriesOf(b.keys), ['write'], 'the recipient bears it')
  t.equal((await a.send(b, { messageId: '1', body: 'other' })).body.code, 'ERR_DUPLICATE_MESSAGE')
  await grant(a.key, 1_000_000)
  t.equal((await a.send(b, { messageId: '2' })).status, 200)
  t.same(await entriesOf(a.keys), ['write'], 'who has credit pays for his own')
  t.equal((await a.send(b, { messageId: '1' })).status, 200, 'the same again is still the same')
  for (let times = 0; times < 6; times++) t.equal(told(await b.list()).length, 2)
  t.same(await entriesOf(a.keys), ['pull', 'pull', 'pull', 'pull', 'write'], 'four listings are paid for')
  t.equal((await b.ack('1', '2')).body.acknowledged, 2)
  t.same((await entriesOf(a.keys))[0], 'deleted')
  t.equal((await accountOf(b.keys)).purses[0].reserved, '0')
  await a.send(b, { messageId: '3' })
  t.match(
    await relay.operator.check({}, new AbortController().signal),
    { ok: true, differences: [] },
    'the books are right',
  )
})

t.test('a store that is damaged', async (t) => {
  const data = t.testdir()
  await (await startTestRelay(data)).close()
  const bob = keysOf('bob').identity
  const store = await Store.open({ directory: storeDirectory(data), now: Date.now })
  const bad = Buffer.from([9])
  await store.commit((batch) => {
    batch.put(placeKey(listPrefix(bob, 'inbox'), 1), bad)
    batch.put(placeKey(idsPrefix(bob, '1'), 1), bad)
    batch.put(boxKey(bob, 'p', sha256('inbox'), Buffer.alloc(33)), bad)
    batch.put(boxKey(bob, 'n'), bad)
    batch.put(boxKey(bob, 'q'), bad)
  })
  await store.close()
  const relay = await startTestRelay(data)
  t.teardown(() => relay.close())
  const [b, a] = [await boxUser(relay, 'bob'), await boxUser(relay, 'alice')]
  refused(t, await a.send(b, { messageBox: 'other' }), 'ERR_INTERNAL')
  refused(t, await b.list(), 'ERR_INTERNAL_ERROR')
  refused(t, await b.ack('1'), 'ERR_INTERNAL_ERROR')
  refused(t, await b.get('/permissions/list'), 'ERR_LIST_PERMISSIONS_FAILED')
  const get = `/permissions/get?recipient=${bob}&messageBox=inbox`
  for (const path of [get, '/devices']) refused(t, await b.get(path), 'ERR_DATABASE_ERROR')
})

t.test('a message is a record, but nobody can read it as one', async (t) => {
  const relay = await openRelay(t, ['--open'])
  const [a, b] = [await boxUser(relay, 'alice'), await boxUser(relay, 'bob')]
  await a.send(b, { messageId: '1' })
  const { result } = await askSigned(relay, b.keys, { type: 'inventory', detail: true })
  t.match(result, [{ kind: 'box', tag: 'inbox', path: /^\/0[23][0-9a-f]{64}\/outbox\/.*\/mb_[0-9a-f]{64}$/ }])
  const [{ path }] = result
  t.same((await askSigned(relay, b.keys, { type: 'read', path })).result, null)
  t.equal((await askSigned(relay, a.keys, { type: 'prove', path, index: 0 })).code, 'ERR_NOT_FOUND')
  const recordId = path.split('/').at(-1)
  t.same((await askSigned(relay, a.keys, { type: 'delete', recordId })).receipt, null)
  t.equal(told(await b.list()).length, 1)
  const taken = await recordFor(relay, a.keys, b.keys, { recordId })
  const wire = await wireClient(relay, a.keys)
  t.match((await wire.ask('PUT', taken.path, taken.text)).body, { code: 'ERR_MALFORMED' })
})

t.test('who is nobody is told so', async (t) => {
  const relay = await openRelay(t, ['--open-boxes'])
  const answer = await fetch(`${relay.url}/sendMessage`, { method: 'POST', body: '{}' })
  t.equal(answer.status, 401)
  t.match(await answer.json(), { status: 'error', code: 'ERR_AUTH_REQUIRED' })
})

t.test('a relay may have no boxes', async (t) => {
  const relay = await openRelay(t, ['--open', '--no-boxes'])
  t.equal((await (await boxUser(relay, 'alice')).list()).status, 404)
})

t.test('a fee needs somebody who can take it', async (t) => {
  await t.rejects(openRelay(t, ['--open', '--box-fee', 'inbox=10']), /--box-fee needs a wallet/)
  await t.rejects(openRelay(t, ['--open', '--box-fee', 'inbox']), /--box-fee takes BOX=SATOSHI/)
})
