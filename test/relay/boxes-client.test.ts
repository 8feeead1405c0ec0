/** The message box client of BSV wallets, as it is, against a relay that sells for coins of a devnet. */
import { LookupResolver, type WalletInterface } from '@bsv/sdk'
import { MessageBoxClient, PeerPayClient } from '@bsv/message-box-client'
import t from 'tap'
import { balanceOf, openBoxScene } from '../fixtures/boxes.ts'

t.setTimeout(60_000)
for (const method of ['warn', 'info', 'log', 'error'] as const) t.capture(console, method)

t.test('the unmodified client', async (t) => {
  const scene = await openBoxScene(t, [
    '--open-boxes',
    '--box-fee',
    'notifications=10',
    '--box-fee',
    'paid=7',
  ])
  const { relay } = scene
  const host = relay.url
  // Nobody outside is asked who else has boxes.
  const local = { networkPreset: 'local' as const, hostOverrides: { ls_messagebox: [host] } }
  const clientOf = async (name: string) => {
    const wallet = await scene.person(name)
    const walletClient = wallet as unknown as WalletInterface // it has what the client asks for
    const box = new MessageBoxClient({ host, walletClient, networkPreset: 'local' })
    const pay = new PeerPayClient({ messageBoxHost: host, walletClient })
    for (const each of [box, pay]) Object.assign(each, { lookupResolver: new LookupResolver(local) })
    return { key: wallet.identity, wallet, box, pay }
  }
  const [alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map(clientOf))
  if (!alice || !bob || !carol) throw new Error('nobody')

  await t.test('sends, lists and acknowledges', async (t) => {
    const body = { text: 'hello', list: [1, 2] }
    const sent = await alice.box.sendMessage({ recipient: bob.key, messageBox: 'demo', body })
    t.match(sent, { status: 'success', messageId: /^[0-9a-f]{64}$/ })
    await alice.box.sendMessage({
      recipient: bob.key,
      messageBox: 'demo',
      body: 'plain',
      skipEncryption: true,
    })
    const listed = await bob.box.listMessages({ messageBox: 'demo', host })
    t.same(
      listed.map(({ sender, body }) => ({ sender, body })),
      [
        { sender: alice.key, body },
        { sender: alice.key, body: 'plain' },
      ],
    )
    const lite = await bob.box.listMessagesLite({ messageBox: 'demo', host })
    t.same(
      lite.map((message) => message.body),
      [body, 'plain'],
    )
    const messageIds = listed.map(({ messageId }) => String(messageId))
    t.equal(await bob.box.acknowledgeMessage({ messageIds, host }), 'success')
    t.equal(await bob.box.acknowledgeMessage({ messageIds }), 'success', 'again, on all its hosts')
    t.same(await bob.box.listMessages({ messageBox: 'demo' }), [])
  })

  await t.test('sets permissions and asks for prices', async (t) => {
    await bob.box.setMessageBoxPermission({ messageBox: 'paid', recipientFee: 5 })
    await bob.box.setMessageBoxPermission({ messageBox: 'paid', recipientFee: -1, sender: carol.key })
    const asked = { recipient: bob.key, messageBox: 'paid' }
    t.same(await alice.box.getMessageBoxQuote(asked, host), {
      ...{ recipientFee: 5, deliveryFee: 7, deliveryAgentIdentityKey: relay.key },
    })
    t.match(await alice.box.getMessageBoxPermission(asked, host), {
      recipientFee: 5,
      status: 'payment_required',
    })
    const all = await bob.box.listMessageBoxPermissions({ messageBox: 'paid' })
    t.match(
      new Set(all.map(({ sender, recipientFee, status }) => `${sender} ${recipientFee} ${status}`)),
      new Set([`null 5 payment_required`, `${carol.key} -1 blocked`]),
    )
    t.match(all[0]!.createdAt, /^20/)
    await bob.box.allowNotificationsFromPeer(alice.key)
    t.match(await bob.box.checkPeerNotificationStatus(alice.key, host), { status: 'always_allow' })
    await t.rejects(carol.box.sendMessage({ ...asked, body: 'hi', checkPermissions: true }, host), /blocked/)
  })

  await t.test('pays for a delivery, and its recipient gets his share', async (t) => {
    const before = await balanceOf(bob.wallet)
    const message = { recipient: bob.key, messageBox: 'paid', body: 'worth it', checkPermissions: true }
    t.match(await alice.box.sendMessage(message, host), { status: 'success' })
    const [got] = await bob.box.listMessages({ messageBox: 'paid', host })
    t.equal(got?.body, 'worth it')
    t.equal(await balanceOf(bob.wallet), before + 5, 'he has been paid')
    await t.rejects(
      alice.box.sendMessage({ ...message, checkPermissions: false }, host),
      /HTTP 400/,
      'unpaid',
    )
  })

  await t.test('sends to many with one payment', async (t) => {
    await carol.box.setMessageBoxPermission({ messageBox: 'notifications', recipientFee: 3 })
    const sent = await alice.box.sendNotification([bob.key, carol.key], 'to both', host)
    t.match(sent, { status: 'success', sent: [{ recipient: bob.key }, { recipient: carol.key }] })
    for (const each of [bob, carol]) {
      const before = await balanceOf(each.wallet)
      const [got] = await each.box.listMessages({ messageBox: 'notifications', host })
      t.equal(got?.body, 'to both')
      t.equal((await balanceOf(each.wallet)) - before, each === carol ? 3 : 0)
    }
    await carol.box.setMessageBoxPermission({ messageBox: 'notifications', recipientFee: -1 })
    const some = await alice.box.sendNotification([bob.key, carol.key], 'to one', host)
    t.match(some, { status: 'success', blocked: [carol.key], sent: [{ recipient: bob.key }] })
  })

  await t.test('registers devices', async (t) => {
    const device = { fcmToken: 'a token of a phone', platform: 'ios' as const, deviceId: 'phone' }
    t.match(await bob.box.registerDevice(device), { status: 'success', deviceId: 1 })
    t.match(await bob.box.listRegisteredDevices(), [{ platform: 'ios', fcmToken: '...of a phone' }])
  })

  await t.test('PeerPay', async (t) => {
    await alice.pay.sendPayment({ recipient: bob.key, amount: 1234 }, host)
    const [payment] = await bob.pay.listIncomingPayments(host)
    t.match(payment, { sender: alice.key, token: { amount: 1234 } })
    const before = await balanceOf(bob.wallet)
    await bob.pay.acceptPayment(payment!)
    t.equal(await balanceOf(bob.wallet), before + 1234)
    t.same(await bob.pay.listIncomingPayments(host), [])
  })

  t.equal(await scene.coins(), 7 + 10 + 10, 'a delivery is paid for once')
})
