// The service whose runs have three steps.

// The SDK wants a newer Node for this alone.
Promise.withResolvers ??= () => {
  let resolve;
  let reject;
  const promise = new Promise((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
};
const restate = await import('@restatedev/restate-sdk');

const bench = restate.service({
  name: 'bench',
  handlers: {
    three: async (context, number) => {
      let sum = 0;
      for (let step = 0; step < 3; step++) {
        sum += await context.run(`step${step}`, () => number + step);
      }
      return sum;
    },
  },
});
restate.endpoint().bind(bench).listen(Number(process.argv[2]));
