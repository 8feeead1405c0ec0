/** docs/protocol.md §14.4: messages for people who live on another host. */
import t from 'tap'
import { boxUser, told } from '../fixtures/boxes.ts'
import { openFederation, until } from '../fixtures/federation.ts'

t.setTimeout(60_000)

t.test('two hosts', async (t) => {
  const scene = await openFederation(t)
  const { a, b } = scene
  const alice = await boxUser(a, 'alice')
  const bob = await scene.resident('bob', b)

  await t.test('a message is brought to where its recipient lives, once', async (t) => {
    const sent = await alice.send(bob, { messageId: 'one', body: 'hello' })
    t.match(sent, {
      status: 200,
      body: {
        status: 'success',
        results: [
          {
            recipient: bob.key,
            messageId: 'one',
            delivery: 'delivered',
            hosts: [{ host: b.domain, status: 'delivered' }],
          },
        ],
      },
    })
    t.same(told(await bob.list()), ['one "hello"'])
    t.match((await bob.list()).body.messages, [{ sender: alice.key }])
    t.same(told(await (await boxUser(a, 'bob')).list()), [], 'nothing stays behind')
    await alice.send(bob, { messageId: 'one', body: 'hello' })
    t.same(told(await bob.list()), ['one "hello"'], 'the same again')
    t.match(await alice.send(bob, { messageId: 'one', body: 'other' }), {
      status: 502,
      body: {
        code: 'ERR_DELIVERY_FAILED',
        results: [{ hosts: [{ status: 'refused', code: 'ERR_DUPLICATE_MESSAGE' }] }],
      },
    })
  })

  await t.test('what waits for a host goes when it is back, and its sender is told', async (t) => {
    await b.stop()
    for (const _ of ['once', 'and again'])
      t.match(await alice.send(bob, { messageId: 'late', body: 'later' }), {
        status: 200,
        body: { results: [{ delivery: 'waiting' }] },
      })
    await a.stop()
    await a.start()
    await b.start()
    scene.clock.now += 60_000
    const back = await boxUser(b, 'bob')
    await until(async () => (await back.list()).body.messages.length === 2)
    const sender = await boxUser(a, 'alice')
    await until(async () => (await sender.list('delivery_reports')).body.messages.length === 1)
    const { messages } = (await sender.list('delivery_reports')).body
    t.match(JSON.parse(messages[0].body).message, {
      ...{ type: 'delivery', messageId: 'late', recipient: bob.key, status: 'delivered' },
    })
    t.equal(messages[0].sender, a.key)
  })
})
