/** What the build does to the bundles beyond bundling (scripts/keep_const.mjs). */
import t from 'tap';

const { keepConst } = (await import(new URL('../../scripts/keep_const.mjs', import.meta.url).href)) as {
  keepConst: (source: string) => string;
};

const kept: readonly [claim: string, source: string][] = [
  ['what nothing assigns to', 'var a = 1, b = {};'],
  ['what a local of the same name is assigned to', 'var a = 1; function f(a) { a = 2; } const g = () => { if (f) { let a; a++; } };'],
  ['what a local out of a pattern is assigned to', 'var a = 1; function f({ b: [a = 3] }) { [a] = []; }'],
  ["what a function's own `var` is assigned to, further in", 'var a = 1; function f() { { var a; } a = 2; }'],
  ['what the property of something else is assigned to', 'var a = {}; a.b = 1; a.c++; ({ x: a.d } = {});'],
  ['a class', 'var A = class A { static x = 1; };'],
  ['a function', 'async function* f() {} var a = f();'],
  ['a function that others, called behind it, use', 'function f() { return g; } function g() {} f();'],
];

const left: readonly [claim: string, source: string][] = [
  ['what a function assigns to', 'var a = 1; function f() { a = 2; }'],
  ['what is counted', 'var a = 1; const f = () => a++;'],
  ['what a pattern assigns to', 'var a = 1; ({ b: [a] } = { b: [2] });'],
  ['what a loop assigns to', 'var a = 1; for (a of []);'],
  ['what has no value yet', 'var a;'],
  ['what is assigned to beside the block with a local of the same name', 'var a = 1; function f() { { let a; } a = 2; }'],
  ['one of two in a declaration', 'var a = 1, b = 2; b = 3;'],
];

const functionsLeft: readonly [claim: string, source: string][] = [
  ['that is called before it stands there', 'let a = f(); function f() {}'],
  ['that one called before uses', 'let a = f(); function f() { return g(); } function g() {}'],
  ['that somebody may call who is called before', 'const a = { b: () => f() }; a.b(); function f() {}'],
  ['that is a property called by the same name', 'const a = { f }.f(); function f() {}'],
  ['that something is assigned to', 'function f() {} f = 1;'],
];

t.test('top-level variables and functions of a bundle', (t) => {
  for (const [claim, source] of kept) t.match(keepConst(source), /^const /, `${claim} is constant`);
  for (const [claim, source] of left) t.match(keepConst(source), /^var /, `${claim} stays variable`);
  for (const [claim, source] of functionsLeft) t.equal(keepConst(source), source, `a function stays one ${claim}`);
  t.equal(
    keepConst('#!/usr/bin/env node\nvar a = 1;\n\nvar b = a;\n'),
    '#!/usr/bin/env node\nconst a = 1;\n\nconst b = a;\n',
    'lines stay where they are',
  );
  t.equal(keepConst('function f(a) {\n}\nf();\n'), 'const f = function (a) {\n};\nf();\n', 'also those of functions');
  t.end();
});
