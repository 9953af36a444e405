"use strict";
// What colour a token has, as a class: a step of the ramp of loss, a step of the difference of two models, or its reason.
(() => {
  const T = (window.lmheadTokens ??= {});
  T.LOSS_EDGES = [0.1, 0.5, 1, 2, 4, 6, 9]; // nats: eight steps
  T.DIFFERENCE_EDGES = [-3, -1, -0.25, 0.25, 1, 3]; // nats, first minus other: seven steps

  const step = (edges, value) => {
    let found = 0;
    while (found < edges.length && value >= edges[found]) found++;
    return found;
  };
  T.lossClass = (nats) => `l${step(T.LOSS_EDGES, nats)}`;
  T.differenceClass = (nats) => `x${step(T.DIFFERENCE_EDGES, nats)}`;
  // The reasons that have a pattern of their own; one of a later lmhead has the plain ground.
  T.reasonClass = (model, reason) =>
    reason === 0 ? "plain" : Object.hasOwn(model.reasons, reason) ? `y${reason}` : "y99";
  T.reasonWords = (model, reason) =>
    Object.hasOwn(model.reasons, reason)
      ? model.reasons[reason]
      : { name: `reason ${reason}`, sentence: "A reason that a later version of lmhead knows." };

  T.colourClass = (model, look, i) => {
    if (!T.trained(model, i) && !(look.untrained && look.colour !== "reason"))
      return T.reasonClass(model, model.reason[i]);
    const { nll, other } = model;
    if (look.colour === "loss" && !Number.isNaN(nll[i])) return T.lossClass(nll[i]);
    if (look.colour === "other" && !Number.isNaN(other[i])) return T.lossClass(other[i]);
    if (look.colour === "difference" && !Number.isNaN(nll[i] - other[i])) return T.differenceClass(nll[i] - other[i]);
    return T.reasonClass(model, model.reason[i]);
  };

  const scale = (entries) => {
    const made = T.element("p", "scale");
    for (const [className, label] of entries) {
      const each = T.element("span");
      each.append(T.element("i", className), label);
      made.append(each);
    }
    return made;
  };

  const lossScale = () => scale(["0", ...T.LOSS_EDGES.map(String)].map((edge, index) => [`l${index}`, edge]));
  const differenceScale = () =>
    scale(
      ["", ...T.DIFFERENCE_EDGES.map((edge) => (edge > 0 ? `+${edge}` : String(edge)))].map((edge, index) => [
        `x${index}`,
        edge,
      ]),
    );

  // What the colours mean, in words beside the ramp.
  T.drawLegend = (model, look, into) => {
    const [first = "the model", other = "the other model"] = model.models;
    if (look.colour === "loss" || look.colour === "other") {
      const whose = model.hasOther ? ` of ${look.colour === "loss" ? first : other}` : "";
      into.replaceChildren(
        lossScale(),
        T.element(
          "p",
          "",
          `Loss${whose} in nats: 0 is certain and right, 0.7 a coin's throw, 4.6 one chance in a hundred. Each token is coloured by how it is predicted from what stands before it. Patterned tokens are read, not learnt.`,
        ),
      );
    } else if (look.colour === "difference") {
      into.replaceChildren(
        differenceScale(),
        T.element(
          "p",
          "",
          `Loss of ${first} less that of ${other}, in nats${model.byBytes ? ", over the bytes that whole tokens of both share" : ""}: green where ${first} is better, brown where ${other} is.`,
        ),
      );
    } else {
      into.replaceChildren(
        T.element(
          "p",
          "",
          "Plain blue tokens are trained: each is predicted from what stands before it. Patterned ones are read, not learnt, and the pattern says why.",
        ),
      );
    }
  };
})();
