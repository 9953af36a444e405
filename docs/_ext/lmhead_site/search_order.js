// Of the pages that a search finds, those that are read to do or to learn something come before those to look up in.
const rooms = { howto: 10, course: 3 };

var Scorer = {
  score: ([docname, , , , score]) => score + (rooms[docname.split("/")[0]] ?? 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
