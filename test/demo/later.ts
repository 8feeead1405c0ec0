/** Loaded before a program, it moves the program's clock on: a month passes in a demo of seconds. */
const laterMs = Number(process.env.DEMO_LATER_MS ?? 0)
const { now } = Date
Date.now = () => now() + laterMs
